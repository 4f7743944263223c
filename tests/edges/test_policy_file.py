"""A policy is read strictly, trusted only if no other user could have written it, and can be written back."""

from __future__ import annotations

import hashlib
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.core.clips import DEFAULT_NAME
from callsheet.core.consent import Caps, Floor, Mode, Policy, Rule
from callsheet.core.notices import NoticeForm, Notices
from callsheet.edges.config.policy_file import load_policy, parse_policy, policy_path, write_policy
from callsheet.edges.config.policy_form import render_policy
from callsheet.edges.files.paths import find_account_home
from callsheet.errors import SetupProblem
from cases import cases

EVERYTHING = """
mode = "live"
[caps]
per_clip = "1.50"
per_day = "8"
per_month = "none"
concurrent = 3
[gateways.poyo]
base_url = "https://proxy.example.com/poyo"
[gateways.not-in-any-catalogue]
base_url = "http://127.0.0.1:8080"
[gateways.apixo]
[hosts]
callback = ["hooks.example.com"]
image = ["cdn.example.com", "img.example.org"]

[inputs]
directories = ["/pictures/for-clips"]
[prices]
unknown_ceiling = "2.00"
[sandbox]
asks = true
speed = 60
[save]
directory = "~/Videos/Sora clips"
[keys]
keyring = true
[tasks]
background = false
[catalogue]
refresh = "weekly"
"""


def place(tmp_path: Path, text: str | bytes = 'mode = "live"\n', mode: int = 0o600) -> Path:
    path = tmp_path / "config" / "policy.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working directory beside the configuration."""
    path = tmp_path / "project"
    path.mkdir()
    return path


def test_the_home_in_the_directories_of_pictures_is_the_one_that_the_system_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that sets another `HOME` does not put other directories in their place."""
    home = find_account_home()
    monkeypatch.setenv("HOME", "/project")

    policy = parse_policy(b'[inputs]\ndirectories = ["~/for-clips", "~", "/a/~"]\n', where="policy.toml")

    assert policy.input_directories == (f"{home}/for-clips", str(home), "/a/~")


def test_without_a_file_the_policy_is_the_sandbox(tmp_path: Path, project: Path) -> None:
    """Nothing can be spent before a person wrote a policy."""
    policy = load_policy(tmp_path / "config" / "policy.toml", working_directory=project, trusted=True)
    assert policy == Policy()
    assert policy.mode is Mode.SANDBOX
    assert policy.version == "default"


def test_every_key_is_read(tmp_path: Path, project: Path) -> None:
    """Money as text becomes Decimal, `none` lifts a limit, `~` is expanded, gateways keep their order."""
    assert load_policy(place(tmp_path, EVERYTHING), working_directory=project, trusted=True) == Policy(
        version=hashlib.sha256(EVERYTHING.encode()).hexdigest()[:12],
        mode=Mode.LIVE,
        caps=Caps(per_clip=Decimal("1.50"), per_day=Decimal(8), per_month=None, concurrent=3),
        base_urls=(
            ("poyo", "https://proxy.example.com/poyo"),
            ("not-in-any-catalogue", "http://127.0.0.1:8080"),
        ),
        callback_hosts=("hooks.example.com",),
        image_hosts=("cdn.example.com", "img.example.org"),
        input_directories=("/pictures/for-clips",),
        unknown_price_ceiling=Decimal("2.00"),
        sandbox_asks=True,
        sandbox_speed=60.0,
        save_directory=str(Path.home() / "Videos" / "Sora clips"),
        use_keyring=True,
        background=False,
        weekly_refresh=True,
    )


def test_an_empty_file_is_the_default_policy_with_a_version_of_its_own(tmp_path: Path, project: Path) -> None:
    """Approvals are bound to the bytes, so even an empty file is another policy than none."""
    policy = load_policy(place(tmp_path, ""), working_directory=project, trusted=True)
    assert policy == Policy(version=hashlib.sha256(b"").hexdigest()[:12])


@cases("mode", list(Mode))
def test_each_mode_can_be_named(mode: Mode) -> None:
    """`sandbox`, `live` and `read-only` are the words."""
    assert parse_policy(f'mode = "{mode}"'.encode(), where="policy.toml").mode is mode


@cases(
    ("text", "key"),
    [
        ('mode = "LIVE"', "mode must be one of sandbox, live, read-only"),
        ("mode = true", "mode must be one of"),
        ("live = true", "live is not a key"),
        ('[catalogue]\nrefresh = "daily"', "catalogue.refresh must be one of never, weekly"),
        ("[catalogue]\nrefresh = true", "catalogue.refresh must be one of never, weekly"),
        ('[catalogue]\nrefreshed = "weekly"', "catalogue.refreshed is not a key"),
        ('modes = "live"', "modes is not a key"),
        ("caps = 2", "caps must be a table"),
        ("[caps]\nper_clip = 2.0", "caps.per_clip must be an amount of US dollars in quotes"),
        ("[caps]\nper_day = 2", "caps.per_day must be an amount"),
        ('[caps]\nper_month = "-1"', "caps.per_month must be an amount"),
        ('[caps]\nper_clip = "1e3"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = "NaN"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = "Infinity"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = "2,00"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = " 2"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = "2\\n"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = "\u0662"', "caps.per_clip must be an amount"),
        ('[caps]\nper_clip = ""', "caps.per_clip must be an amount"),
        ("[caps]\nconcurrent = true", "caps.concurrent must be a whole number"),
        ("[caps]\nconcurrent = 0", "caps.concurrent must be a whole number"),
        ("[caps]\nconcurrent = 1001", "caps.concurrent must be a whole number"),
        ("[caps]\nconcurrent = 2.0", "caps.concurrent must be a whole number"),
        ('[caps]\nper_year = "9"', "caps.per_year is not a key"),
        ("[prices]\nunknown_ceiling = 2.0", "prices.unknown_ceiling must be an amount"),
        ('[hosts]\ncallback = "a.example.com"', "hosts.callback must be a list"),
        ("[hosts]\ncallback = [1]", "hosts.callback must be a list"),
        ('[inputs]\ndirectories = ["pictures"]', "inputs.directories must be an absolute path"),
        ("[inputs]\ndirectories = [7]", "inputs.directories must be an absolute path"),
        ('[inputs]\ndirectories = "/pictures"', "inputs.directories must be a list"),
        ('[inputs]\ndirectory = "/pictures"', "inputs.directory is not a key"),
        ('[hosts]\nimage = ["https://a.example.com"]', "hosts.image must be a list"),
        ('[hosts]\nimage = ["*.example.com"]', "hosts.image must be a list"),
        ('[hosts]\nimage = ["127.0.0.1"]', "hosts.image must be a list"),
        ('[hosts]\nimage = ["a.example.com/b"]', "hosts.image must be a list"),
        ('[hosts]\nimage = ["A.example.com"]', "hosts.image must be a list"),
        ('[hosts]\nimages = ["a.example.com"]', "hosts.images is not a key"),
        ('[sandbox]\nasks = "yes"', "sandbox.asks must be true or false"),
        ("[sandbox]\nasks = 1", "sandbox.asks must be true or false"),
        ("[sandbox]\nspeed = 0", "sandbox.speed must be a number"),
        ("[sandbox]\nspeed = -1.5", "sandbox.speed must be a number"),
        ("[sandbox]\nspeed = nan", "sandbox.speed must be a number"),
        ("[sandbox]\nspeed = inf", "sandbox.speed must be a number"),
        ("[sandbox]\nspeed = true", "sandbox.speed must be a number"),
        ('[sandbox]\nspeed = "30"', "sandbox.speed must be a number"),
        (f"[sandbox]\nspeed = {'9' * 400}", "sandbox.speed must be a number"),
        ('[save]\ndirectory = "clips"', "save.directory must be an absolute path"),
        ('[save]\ndirectory = ""', "save.directory must be an absolute path"),
        ('[save]\ndirectory = "~nobody-of-that-name/x"', "save.directory must be an absolute path"),
        ('[save]\ndirectory = "/a\\u0000b"', "save.directory must be an absolute path"),
        ("[save]\ndirectory = 1", "save.directory must be a path"),
        ('[save]\nname = "{words}"', "save.name must have {id}"),
        ('[save]\nname = "../{id}"', "save.name must have {id}"),
        ('[save]\nmetadata = "yes"', "save.metadata must be true or false"),
        ("[keys]\nkeyring = 0", "keys.keyring must be true or false"),
        ('[keys]\npoyo = "x"', "keys.poyo is not a key"),
        ("[gateways]\npoyo = 1", "gateways.poyo must be a table"),
        ('[gateways.poyo]\nbase_url = "http://proxy.example.com"', "gateways.poyo.base_url cannot be used"),
        ('[gateways.poyo]\nbase_url = "https://proxy.example.com?x"', "A base URL has no query"),
        ("[gateways.poyo]\nbase_url = 1", "gateways.poyo.base_url must be a URL"),
        ('[gateways.poyo]\nkey = "x"', "gateways.poyo.key is not a key"),
        ('[gateways."../x"]\nbase_url = "https://proxy.example.com"', "is not the id of a gateway"),
        ("mode = ", "is not TOML"),
        ('mode = "live"\nmode = "sandbox"', "is not TOML"),
        (f"a = {'9' * 5000}", "is not TOML"),
        (f"a = {'[' * 5000}", "is not TOML"),
        (b'mode = "\xff"', "is not UTF-8"),
    ],
)
def test_every_mistake_names_file_key_and_rule(text: str | bytes, key: str) -> None:
    """A typo must never loosen a limit, so nothing unknown and nothing of the wrong type is passed over."""
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SetupProblem) as caught:
        parse_policy(raw, where="/config/policy.toml")
    assert caught.value.message.startswith("The policy file /config/policy.toml is not used: ")
    assert key in caught.value.message
    assert caught.value.fate == "nothing_sent"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o666, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path: Path, project: Path, mode: int) -> None:
    """Neither group nor others may read or write what decides about money."""
    with pytest.raises(SetupProblem, match=f"mode {mode:04o}"):
        load_policy(place(tmp_path, mode=mode), working_directory=project, trusted=True)


def test_links_and_directories_are_refused(tmp_path: Path, project: Path) -> None:
    """The policy is a regular file, not a way to one."""
    real = place(tmp_path)
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    with pytest.raises(SetupProblem, match="symbolic link"):
        load_policy(link, working_directory=project, trusted=True)
    with pytest.raises(SetupProblem, match="not a regular file"):
        load_policy(real.parent, working_directory=project, trusted=True)


def test_a_policy_in_or_under_the_working_directory_is_refused(tmp_path: Path) -> None:
    """Agents write there, and a project could bring a policy along."""
    path = place(tmp_path)
    for directory in (path.parent, tmp_path, tmp_path / "config" / ".." / "config"):
        with pytest.raises(SetupProblem, match="under the working directory"):
            load_policy(path, working_directory=directory, trusted=True)


def test_a_home_of_a_project_cannot_arm_live_mode(tmp_path: Path, project: Path) -> None:
    """`CALLSHEET_HOME` below the working directory selects a policy that is refused, and outside it one that is not."""
    inside = policy_path({"CALLSHEET_HOME": str(project / ".callsheet")})
    write_policy(inside, 'mode = "live"\n')
    with pytest.raises(SetupProblem, match="under the working directory"):
        load_policy(inside, working_directory=project, trusted=True)
    outside = policy_path({"CALLSHEET_HOME": str(tmp_path / "home")})
    write_policy(outside, 'mode = "live"\n')
    assert load_policy(outside, working_directory=project, trusted=True).mode is Mode.LIVE


def test_links_between_directories_do_not_hide_where_a_policy_lies(tmp_path: Path, project: Path) -> None:
    """Seen through a link into the project or out of it, the policy is still within an agent's reach."""
    (project / "hidden").mkdir()
    path = place(project / "hidden")
    (tmp_path / "elsewhere").symlink_to(project / "hidden")
    with pytest.raises(SetupProblem, match="under the working directory"):
        load_policy(tmp_path / "elsewhere" / "config" / "policy.toml", working_directory=project, trusted=True)
    (tmp_path / "same-project").symlink_to(project)
    with pytest.raises(SetupProblem, match="under the working directory"):
        load_policy(path, working_directory=tmp_path / "same-project", trusted=True)
    place(tmp_path)
    (project / "out").symlink_to(tmp_path / "config")
    with pytest.raises(SetupProblem, match="under the working directory"):
        load_policy(project / "out" / "policy.toml", working_directory=project, trusted=True)


def test_the_root_of_the_file_system_is_no_working_directory(tmp_path: Path) -> None:
    """Some clients start every server there, and every file is below it."""
    assert load_policy(place(tmp_path), working_directory=Path(tmp_path.anchor), trusted=True).mode is Mode.LIVE


def test_a_policy_is_written_private_and_whole(tmp_path: Path, project: Path) -> None:
    """Mode 0600 in a directory of mode 0700, and loadable immediately."""
    path = tmp_path / "config" / "policy.toml"
    write_policy(path, render_policy(Policy(mode=Mode.LIVE)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_policy(path, working_directory=project, trusted=True).mode is Mode.LIVE


@pytest.mark.parametrize("text", ['mode = "all"', "[caps]\nper_clip = 2.0", "\udcff"])
def test_a_text_that_would_not_load_is_not_written(tmp_path: Path, text: str) -> None:
    """The old policy stays in force."""
    path = place(tmp_path, "")
    with pytest.raises(SetupProblem):
        write_policy(path, text)
    assert path.read_bytes() == b""


hosts = st.lists(st.sampled_from(["cdn.example.com", "a.example.org", "b-1.example.net"]), unique=True).map(tuple)
dollars = st.none() | st.decimals(0, 9_999_999, places=2)
paths = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])).map(
    lambda text: str(Path("/videos", text.lstrip("/")))
)
rules = st.builds(Rule, allowed=st.booleans(), per_clip=dollars, floor=st.none() | st.sampled_from(Floor))


def rules_of(names: str) -> st.SearchStrategy[tuple[tuple[str, Rule], ...]]:
    """Rules that say something, by name."""
    tables = st.dictionaries(st.from_regex(names), rules.filter(lambda rule: rule != Rule()), max_size=3)
    return tables.map(lambda table: tuple(sorted(table.items())))


policies = st.builds(
    Policy,
    mode=st.sampled_from(Mode),
    caps=st.builds(Caps, per_clip=dollars, per_day=dollars, per_month=dollars, concurrent=st.integers(1, 1000)),
    base_urls=st.dictionaries(
        st.from_regex(r"\A[a-z][a-z0-9_-]{0,9}\Z"),
        st.sampled_from(["https://proxy.example.com/a'b", "http://localhost:81", "http://[::1]:9/x"]),
        max_size=3,
    ).map(lambda table: tuple(sorted(table.items()))),
    callback_hosts=hosts,
    image_hosts=hosts,
    input_directories=st.lists(paths, max_size=2).map(tuple),
    # A ceiling of nothing counts as none.
    unknown_price_ceiling=st.none() | st.decimals("0.01", 9_999_999, places=2),
    sandbox_asks=st.booleans(),
    sandbox_speed=st.floats(0.001, 100_000),
    save_directory=st.none() | paths,
    save_name=st.sampled_from([DEFAULT_NAME, "{id}", "{words} {id}", "clip_{gateway}.{id}"]),
    save_tags=st.booleans(),
    use_keyring=st.booleans(),
    background=st.booleans(),
    weekly_refresh=st.booleans(),
    floor=st.sampled_from(Floor),
    passphrase_from=dollars,
    notices=st.builds(
        Notices,
        st.sampled_from(["", "https://hooks.example.com/services/a/0123456789abcdef?x='1"]),
        st.sampled_from(NoticeForm),
        st.booleans(),
        st.booleans(),
    ),
    rules=st.tuples(rules_of(r"\A[a-z][a-z0-9_-]{0,9}\Z"), rules_of(r"\A[a-z]{1,9}/[a-z][a-z0-9.-]{1,9}[a-z]\Z")).map(
        lambda both: both[0] + both[1]
    ),
)


@given(policies)
def test_a_rendered_policy_reads_back_as_the_same(policy: Policy) -> None:
    """Whatever a policy holds, the file that is written from it says exactly that."""
    text = render_policy(policy)
    assert parse_policy(text.encode(), where="policy.toml") == Policy(
        version=hashlib.sha256(text.encode()).hexdigest()[:12],
        mode=policy.mode,
        caps=policy.caps,
        base_urls=policy.base_urls,
        notices=policy.notices,
        callback_hosts=policy.callback_hosts,
        image_hosts=policy.image_hosts,
        input_directories=policy.input_directories,
        unknown_price_ceiling=policy.unknown_price_ceiling,
        sandbox_asks=policy.sandbox_asks,
        sandbox_speed=policy.sandbox_speed,
        floor=policy.floor,
        passphrase_from=policy.passphrase_from,
        rules=policy.rules,
        save_directory=policy.save_directory,
        save_name=policy.save_name,
        save_tags=policy.save_tags,
        use_keyring=policy.use_keyring,
        background=policy.background,
        weekly_refresh=policy.weekly_refresh,
    )


def test_a_rendered_policy_explains_itself() -> None:
    """Every table stands in the file with a comment, so that a person can edit it without a manual."""
    text = render_policy(Policy())
    assert set(tomllib.loads(text)) == {
        "mode",
        "notify",
        "approval",
        "caps",
        "prices",
        "hosts",
        "inputs",
        "sandbox",
        "save",
        "keys",
        "tasks",
        "catalogue",
    }
    for line, above in zip(text.splitlines()[1:], text.splitlines(), strict=False):
        assert not line.startswith("[") or above.startswith("#")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_policy_or_a_setup_problem(raw: bytes) -> None:
    """No content of the file brings out another kind of error."""
    try:
        policy = parse_policy(raw, where="policy.toml")
    except SetupProblem:
        return
    assert policy.mode in Mode
