"""How a person is asked, and how their yes is carried out: questions, putting sheets forward, a desk on demand."""
