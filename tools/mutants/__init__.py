"""`make mutants`: does a test fail when the code about money, consent and keys is changed?"""
