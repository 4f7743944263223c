"""`[endpoints.<id>]` and `[network]` are read strictly: where prompts, pictures and keys go is written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.core.catalogue.prices import price_clip
from callsheet.core.gateway.endpoint import build_facts, name_size
from callsheet.core.gateway.protocol import Route
from callsheet.core.payload.body import build_body
from callsheet.core.payload.form import freeze, place_files, read_frozen
from callsheet.core.shot import OWN_FILE_SCHEME, Shot
from callsheet.edges.config.catalogue_files import find_mistakes
from callsheet.edges.config.policy_file import judge_policy, load_policy, parse_policy
from callsheet.edges.config.policy_form import render_policy
from callsheet.errors import SetupProblem
from cases import cases
from faults.certificates import authority_text

PRIVATE = 'base_url = "https://gpu-box.lan:8443/v1"\naddress = "10.20.0.7"\n'
PUBLIC = 'base_url = "https://video.example.com/openai/v1"\n'
PLAIN = 'base_url = "http://gpu-box.lan:8000/v1"\naddress = "10.20.0.7"\n'
INSECURE = PLAIN + 'insecure = "no TLS on 10.20.0.7"\n'
PRICED = 'seconds = [4]\nprice = "0.10 USD per clip"\n'


def table(way: str, model: str = PRICED, *, name: str = "gpu-box") -> bytes:
    """A policy with one endpoint."""
    return f'[endpoints.{name}]\n{way}\n[endpoints.{name}.models."wan"]\n{model}'.encode()


READ = {
    "a private name with an address": PRIVATE,
    "a single label with an address": 'base_url = "https://box/v1"\naddress = "192.168.1.4"',
    "an address as the host": 'base_url = "https://10.20.0.7:8443/v1"\naddress = "10.20.0.7"',
    "a private address of IPv6": 'base_url = "https://box/v1"\naddress = "fd12:3456::7"',
    "an address of a carrier": 'base_url = "https://box/v1"\naddress = "100.64.0.9"',
    "a name of the company in its own network": 'base_url = "https://gpu.example.com/v1"\naddress = "10.0.0.1"',
    "a public host": PUBLIC,
    "a public host on another port": 'base_url = "https://video.example.com:8443/v1"',
    "this computer without TLS": 'base_url = "http://127.0.0.1:8000/v1"\nkey_env = "BOX_KEY"',
    "no TLS, said with the address": INSECURE,
    "a key without TLS, said twice": INSECURE + 'key_env = "BOX_KEY"\nkey_over_plain_http = true',
    "its own certificates": PRIVATE + 'ca_file = "~/box.pem"',
    "one certificate": PRIVATE + f'fingerprint = "sha256:{"a" * 64}"',
    "links at declared hosts": PUBLIC + 'content = "url"\nresult_hosts = ["cdn.example.com"]',
    "JSON with whole seconds": PUBLIC + 'body = "json"\nseconds_as = "integer"\nimage = "image_url"',
}
REFUSED = {
    "no address": ("base_url", 'base_url = "https://gpu-box.lan/v1"'),
    "a single label without an address": ("base_url", 'base_url = "https://box/v1"'),
    "an address as the host, not repeated": ("base_url", 'base_url = "https://10.20.0.7/v1"'),
    "an address as the host, and another": ("base_url", 'base_url = "https://10.20.0.7/v1"\naddress = "10.20.0.8"'),
    "a name that points at addresses": ("base_url", 'base_url = "https://10-0-0-1.nip.io/v1"'),
    "a public address": ("base_url", 'base_url = "https://box/v1"\naddress = "93.184.216.34"'),
    "an address of link-local metadata": ("base_url", 'base_url = "https://box/v1"\naddress = "169.254.169.254"'),
    "Azure's platform": ("base_url", 'base_url = "https://box/v1"\naddress = "168.63.129.16"'),
    "Alibaba's metadata": ("base_url", 'base_url = "https://box/v1"\naddress = "100.100.100.200"'),
    "Amazon's metadata by IPv6": ("base_url", 'base_url = "https://box/v1"\naddress = "fd00:ec2::254"'),
    "this network": ("base_url", 'base_url = "https://box/v1"\naddress = "0.0.0.0"'),
    "multicast": ("base_url", 'base_url = "https://box/v1"\naddress = "224.0.0.1"'),
    "loopback for another host": ("base_url", 'base_url = "https://box/v1"\naddress = "127.0.0.1"'),
    "a mapped address": ("base_url", 'base_url = "https://box/v1"\naddress = "::ffff:10.0.0.1"'),
    "an address in another spelling": ("base_url", 'base_url = "https://box/v1"\naddress = "010.20.0.7"'),
    "a name as the address": ("base_url", 'base_url = "https://box/v1"\naddress = "box.lan"'),
    "a query": ("base_url", 'base_url = "https://video.example.com/v1?x=1"'),
    "a user": ("base_url", 'base_url = "https://me:pw@video.example.com/v1"'),
    "no root of an API": ("base_url", 'base_url = "https://video.example.com"'),
    "a path to elsewhere": ("base_url", 'base_url = "https://video.example.com/../v1"'),
    "upper case": ("base_url", 'base_url = "https://Video.example.com/v1"'),
    "nothing": ("base_url", ""),
    "http to a public host": ("base_url", 'base_url = "http://video.example.com/v1"'),
    "http without saying so": ("insecure", PLAIN),
    "http with another address": ("insecure", PLAIN + 'insecure = "no TLS on 10.20.0.8"'),
    "http with just a yes": ("insecure", PLAIN + 'insecure = "yes"'),
    "a key over http": ("key_over_plain_http", INSECURE + 'key_env = "BOX_KEY"'),
    "insecure with TLS": ("insecure", PRIVATE + 'insecure = "no TLS on 10.20.0.7"'),
    "both ways to know it": ("ca_file", PRIVATE + f'ca_file = "/box.pem"\nfingerprint = "sha256:{"a" * 64}"'),
    "a short fingerprint": ("fingerprint", PRIVATE + 'fingerprint = "sha256:aa"'),
    "a key itself": ("key_env", PRIVATE + 'key_env = "sk-live-1234"'),
    "hosts without links": ("result_hosts", PUBLIC + 'result_hosts = ["cdn.example.com"]'),
    "links without hosts": ("result_hosts", PUBLIC + 'content = "url"'),
    "a file in JSON": ("image", PUBLIC + 'body = "json"\nimage = "file"'),
    "a field for a path on the server": ("extras", PUBLIC + 'extras = ["output_path"]'),
    "an unknown key": ("verify", PUBLIC + "verify = false"),
    "no clips": ("clips_per_day", PUBLIC + "clips_per_day = 0"),
    "the key of a gateway": ("key_env", PRIVATE + 'key_env = "POYO_API_KEY"'),
    "an address with a zone": ("base_url", 'base_url = "https://box/v1"\naddress = "fd12::7%eth0"'),
    "another wire": ("wire", PUBLIC + 'wire = "xai"'),
}
MODELS = {
    "no lengths": ("seconds", ""),
    "a length of half a second": ("seconds", "seconds = [0.5]"),
    "a word for a size": ("sizes", 'seconds = [4]\nsizes = ["720p"]'),
    "a price without a unit": ("price", 'seconds = [4]\nprice = "0.02"'),
    "a price of nothing": ("price", 'seconds = [4]\nprice = "0.00 USD per clip"'),
    "free at a public host": ("price", 'seconds = [4]\nprice = "none"'),
}


@cases("name", READ)
def test_what_is_written_out_is_read_and_written_back(name: str) -> None:
    """A rewritten policy file declares the same endpoints, and their cards obey the catalogue's rules."""
    policy = parse_policy(table(READ[name]), where="policy")

    assert replace(parse_policy(render_policy(policy).encode(), where=""), version="") == replace(policy, version="")
    assert [*find_mistakes(build_facts(policy.endpoints[0]))] == []


@cases("name", REFUSED)
def test_what_is_not_written_out_is_refused_with_its_key(name: str) -> None:
    """The whole file is not used then, and the message names the line."""
    key, way = REFUSED[name]
    with pytest.raises(SetupProblem, match=rf"endpoints\.gpu-box\.{key} "):
        parse_policy(table(way), where="policy")


@cases("name", MODELS)
def test_a_model_is_declared_with_what_it_takes(name: str) -> None:
    """Lengths at least; and a price that nobody else confirms is written so that it cannot be misread."""
    key, model = MODELS[name]
    with pytest.raises(SetupProblem, match=rf"endpoints\.gpu-box\.models\.wan\.{key} "):
        parse_policy(table(PUBLIC, model), where="policy")


def test_free_at_a_public_host_is_written_twice() -> None:
    """A proxy in front of a vendor is not a box of one's own, and a person approves by that line."""
    free = 'seconds = [4]\nprice = "none"'
    [endpoint] = parse_policy(table(PUBLIC + 'free = "I pay nothing there"', free), where="").endpoints
    assert price_clip(build_facts(endpoint).models[0], Shot.of("A kite.")).free


@cases("name", ["poyo", "po-yo", "evo-link", "Box", "box_1", "-box", "7", "0", "b" * 33, "gpu\u2010box", "b\u043ex"])
def test_an_id_is_short_and_no_gateways(name: str) -> None:
    """An endpoint never takes the place of a gateway."""
    with pytest.raises(SetupProblem):
        parse_policy(table(PUBLIC, name=f'"{name}"'), where="")


TWINS = {
    "endpoints": table(PUBLIC) + table(PUBLIC, name="gpubox"),
    "models": table(PUBLIC) + b'[endpoints.gpu-box.models."WAN"]\nseconds = [4]\n',
}


@cases("what", TWINS)
def test_names_that_differ_by_case_and_hyphens_alone_are_not_declared_together(what: str) -> None:
    """Who asks for one would get the other: names are compared without these."""
    with pytest.raises(SetupProblem, match=r"endpoints\."):
        parse_policy(TWINS[what], where="")


def test_certificates_that_are_the_only_ones_are_another_way_than_more_of_them() -> None:
    """A key that was named for the one does not go by the other."""
    only, beside = Route(ca="PEM", only_ca=True), Route(ca="PEM")
    assert only.mark != beside.mark


def test_no_other_table_moves_an_endpoint() -> None:
    """Its address stands in one place."""
    with pytest.raises(SetupProblem, match=r"gateways\.gpu-box\.base_url"):
        parse_policy(table(PUBLIC) + b'[gateways.gpu-box]\nbase_url = "https://else.example.com"', where="")


PROXIES = [
    *("proxy.corp", "http://me:pw@proxy.corp:3128", "socks5://proxy.corp:1080", "http://proxy.corp:3128/x"),
    *("http://proxy.corp", "http://proxy.corp:0", "http://proxy.corp:65536", "http://.:3128", "http://-a.corp:3128"),
    *("http://[:::]:3128", "http://proxy.corp:3128?x", "http://proxy..corp:3128"),
]


@cases("proxy", PROXIES)
def test_a_proxy_is_an_address_without_secrets(proxy: str) -> None:
    """The policy is no place for a password."""
    with pytest.raises(SetupProblem, match=r"network\.proxy"):
        parse_policy(f'[network]\nproxy = "{proxy}"'.encode(), where="")


def test_certificates_are_read_with_the_policy_and_change_its_version(tmp_path: Path) -> None:
    """What was agreed to under other certificates is void; a file that others can change is not used."""
    file, path = tmp_path / "ca.pem", tmp_path / "config" / "policy.toml"
    file.write_text(authority_text(), encoding="ascii")
    file.chmod(0o644)
    raw = f'[network]\nca_file = "{file}"\n'.encode() + table(PUBLIC)

    def load() -> tuple[str, str]:
        policy = judge_policy(raw, path, working_directory=Path("/nowhere"), trusted=True)
        return policy.version, policy.route("gpu-box").ca

    version, held = load()
    assert held == authority_text()
    file.write_text(authority_text() + authority_text(), encoding="ascii")
    assert load()[0] != version
    for break_it in (lambda: file.chmod(0o666), lambda: (file.chmod(0o600), file.write_text("no certificate"))):
        break_it()
        with pytest.raises(SetupProblem):
            load()


@pytest.mark.parametrize("linked", [False, True])
def test_certificates_under_the_working_directory_are_refused(tmp_path: Path, linked: bool) -> None:
    """An agent may write there, and whoever chooses the certificates reads the key; a link leads there as well."""
    project, link, path = tmp_path / "project", tmp_path / "link.pem", tmp_path / "policy.toml"
    project.mkdir()
    (project / "ca.pem").write_text(authority_text(), encoding="ascii")
    link.symlink_to(project / "ca.pem")
    path.touch(mode=0o600)
    path.write_text(f'[network]\nca_file = "{link if linked else project / "ca.pem"}"', encoding="utf-8")
    with pytest.raises(SetupProblem, match="working directory"):
        load_policy(path, working_directory=project, trusted=True)


SIZES = {
    ("1280x720",): ("16:9", "720p"),
    ("720x1280",): ("9:16", "720p"),
    ("832x480",): ("16:9", "480p"),
    ("1024x1024",): ("1:1", "1024p"),
    ("848x480", "832x480"): ("26:15", "480p"),
    ("1000x300",): ("10:3", "300p"),
}


@cases("sizes", SIZES)
def test_a_size_has_one_ratio_and_one_resolution(sizes: tuple[str, ...]) -> None:
    """A shot names these; no two sizes of a model have the same."""
    assert tuple(name_size(sizes[-1], sizes).values()) == SIZES[sizes]


PROMPTS = [
    "A kite.",
    "Two\nlines\r\nand\r\n\r\n--callsheet-0\r\n",
    '"; filename="x" \u00e4\U0001f3a5',
    f"{OWN_FILE_SCHEME}{'a' * 64}.png",
    "",
]


@cases("prompt", PROMPTS)
def test_a_form_is_read_back_as_it_was_frozen(prompt: str) -> None:
    """No prompt adds a part, a header or a file; another body is another boundary."""
    body = {"model": "wan", "prompt": prompt, "seconds": "4"}
    frozen = freeze("multipart", body)

    assert read_frozen(frozen) == body
    assert frozen.count(b"Content-Disposition") == prompt.count("Content-Disposition") + 3
    assert frozen[:44] != freeze("multipart", {**body, "seconds": "5"})[:44]
    with pytest.raises(ValueError, match="not as it was frozen"):
        read_frozen(frozen.replace(b"\r\n4\r\n", b"\r\n9\r\n"))


def test_a_file_takes_the_place_of_its_name_and_no_other() -> None:
    """The name has the SHA-256 of the bytes, so the approval is of them; the prompt may spell it as well."""
    name = f"{OWN_FILE_SCHEME}{'a' * 64}.png"
    frozen = freeze("multipart", {"model": "wan", "prompt": f"Not {name}", "input_reference": name})
    sent = place_files(frozen, {name: b"\x89PNG bytes"})

    assert sent.count(b"\x89PNG bytes") == 1
    assert f"Not {name}".encode() in sent
    assert (
        b'name="input_reference"; filename="' + b"a" * 32 + b'.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG' in sent
    )
    with pytest.raises(ValueError, match="no place"):
        place_files(frozen, {name: frozen[2:44]})


def test_a_body_has_the_declared_fields_in_their_order() -> None:
    """Nothing else leaves: these servers also take paths on themselves."""
    way = PUBLIC + 'body = "json"\nextras = ["seed", "negative_prompt"]\nimage = "image_url"'
    [endpoint] = parse_policy(table(way, 'seconds = [4, 8]\nsizes = ["1280x720"]\n'), where="").endpoints
    shot = Shot.of("A kite.", seed=7, negative_prompt="rain", first_frame="https://cdn.example.com/a.png")

    assert build_body(build_facts(endpoint).models[0], shot) == {
        "model": "wan",
        "prompt": "A kite.",
        "seconds": "4",
        "size": "1280x720",
        "seed": 7,
        "negative_prompt": "rain",
        "input_reference": {"image_url": "https://cdn.example.com/a.png"},
    }
