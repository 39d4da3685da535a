from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from atoll.config import Config, ListenAddress, default_state_dir, find_config_file, load_config
from atoll.config.sections import SECTIONS
from atoll.model.errors import AtollError, InvalidSpec, NotAvailable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "atoll.toml"


def load(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text)
    return load_config(file, environ)


def test_every_key_has_a_default() -> None:
    config = load_config(environ={"HOME": "/home/u"})
    assert (config.limits.max_sandboxes, config.limits.memory_mib_default, config.limits.memory_mib_max) == (
        5,
        1280,
        4096,
    )
    assert (config.limits.disk_gib, config.limits.vcpus, config.pool.size) == (10, 2, 2)
    assert config.vm.accelerator == "auto"
    assert config.egress.on_unsubstituted == "flag"
    assert str(config.server.listen) == "127.0.0.1:8700"


def test_the_keys_are_those_that_are_documented() -> None:
    keys = {name: {entry.name for entry in dataclasses.fields(section)} for name, section in SECTIONS.items()}
    assert keys == {
        "server": {"listen", "state_dir", "public_domain", "tls_cert", "tls_key", "ssh_listen"},
        "limits": {
            *("max_sandboxes", "memory_mib_default", "memory_mib_max", "disk_gib", "vcpus"),
            *("memory_overcommit", "cpu_overcommit"),
        },
        "pool": {"size"},
        "vm": {"accelerator"},
        "egress": {"allow_private", "trusted_ca", "passthrough", "on_unsubstituted", "resolve"},
    }


def test_later_sources_win(file: Path) -> None:
    file.write_text("[limits]\nmax_sandboxes = 7\ndisk_gib = 20\nvcpus = 1\n[pool]\nsize = 0\n")
    environ = {"ATOLL_LIMITS_DISK_GIB": "30", "ATOLL_LIMITS_VCPUS": "2"}
    config = load_config(file, environ, {"limits.vcpus": "1", "server.listen": "[::1]:0"})
    assert (config.limits.max_sandboxes, config.limits.disk_gib, config.limits.vcpus) == (7, 30, 1)
    assert config.pool.size == 0
    assert config.server.listen == ListenAddress("::1", 0)


def test_sizes_may_be_spelled_with_a_unit(file: Path) -> None:
    config = load(
        file, '[limits]\nmemory_mib_max = "2GiB"\ndisk_gib = "4 GiB"\n', ATOLL_LIMITS_MEMORY_MIB_DEFAULT="1GiB"
    )
    assert (config.limits.memory_mib_max, config.limits.memory_mib_default, config.limits.disk_gib) == (2048, 1024, 4)


def test_paths_are_relative_to_the_file_that_names_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    text = '[server]\nstate_dir = "../state"\ntls_cert = "cert.pem"\ntls_key = "/k.pem"\n'
    server = load(file, text).server
    assert server.state_dir == file.parent.parent / "state"
    assert (server.tls_cert, server.tls_key) == (file.parent / "cert.pem", Path("/k.pem"))
    assert load(file, "", ATOLL_SERVER_STATE_DIR="state").server.state_dir == Path("/state")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limit]\n", "there is no section [limit]; did you mean limits?"),
        ("limits = 3\n", "limits is not a section; write [limits]"),
        ("[limits]\nmax_sandbox = 3\n", "[limits] has no key 'max_sandbox'; did you mean max_sandboxes?"),
        ("[vm]\nzzz = 3\n", "[vm] has no key 'zzz'; there are accelerator"),
        ("[limits]\nmax_sandboxes = 0\n", "limits.max_sandboxes: 0 is not between 1 and 10000"),
        ("[limits]\nmax_sandboxes = true\n", "limits.max_sandboxes: True is not a whole number"),
        ('[limits]\nmax_sandboxes = "5"\n', "limits.max_sandboxes: '5' is not a whole number"),
        ("[limits]\nmax_sandboxes = 5.0\n", "limits.max_sandboxes: 5.0 is not a whole number"),
        ("[limits]\nmemory_mib_max = 767\n", "limits.memory_mib_max: 767 is not between 768 and 4096"),
        ('[limits]\nmemory_mib_max = "1GB"\n', "limits.memory_mib_max: '1GB' is not a size"),
        ('[limits]\ndisk_gib = "1500MiB"\n', "limits.disk_gib: 1500MiB is not a whole number of GiB"),
        ("[limits]\nmemory_mib_max = 1024\n", "limits.memory_mib_default: 1280 is over memory_mib_max, which is 1024"),
        ("[limits]\nvcpus = 3\n", "limits.vcpus: 3 is not between 1 and 2"),
        ('[vm]\naccelerator = "hvf"\n', "vm.accelerator: 'hvf' is not one of auto, kvm, tcg"),
        ("[vm]\naccelerator = []\n", "vm.accelerator: [] is not one of auto, kvm, tcg"),
        ('[server]\nlisten = "8700"\n', "server.listen: '8700' is not HOST:PORT"),
        ('[server]\nlisten = "h:70000"\n', "server.listen: 'h:70000' is not HOST:PORT"),
        ('[server]\nlisten = "::1:80"\n', "server.listen: '::1:80' is not HOST:PORT"),
        ("[server]\nstate_dir = 3\n", "server.state_dir: 3 is not text"),
        ('[server]\nstate_dir = ""\n', "server.state_dir: '' is not text"),
        ('[server]\nstate_dir = "a\\u0000b"\n', "server.state_dir: contains a NUL character"),
        ('[server]\ntls_key = "k"\n', "server.tls_cert: tls_cert and tls_key are given together or not at all"),
        ("[limits\n", "is not valid TOML"),
        ("[limits]\nvcpus = 1\nvcpus = 2\n", "is not valid TOML"),
        ("a = " + "[" * 100_000, "is not valid TOML"),
        ("# " + "x" * 2**20, "is over 1048576 bytes long"),
    ],
)
def test_what_is_wrong_is_refused_by_file_and_key(file: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load(file, text)
    assert caught.value.message.startswith(f"{file}: {message}")


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSpec, match="is not valid TOML"):
        load_config(file, {})


@pytest.mark.parametrize("name", ["atoll.toml", "."])
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read"):
        load_config(None, {"ATOLL_CONFIG": str(tmp_path / name)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ATOLL_POOL_SIZE", "two", "ATOLL_POOL_SIZE: pool.size: 'two' is not a whole number"),
        ("ATOLL_POOL_SIZE", "", "ATOLL_POOL_SIZE: pool.size: '' is not a whole number"),
        ("ATOLL_POOL_SIZE", "²", "ATOLL_POOL_SIZE: pool.size: '²' is not a whole number"),
        ("ATOLL_POOL_SIZE", "-1", "ATOLL_POOL_SIZE: pool.size: -1 is not between 0 and 64"),
        ("ATOLL_POOL_SIZ", "1", "ATOLL_POOL_SIZ: this variable is no setting; did you mean ATOLL_POOL_SIZE?"),
        ("ATOLL_LIMIT_VCPUS", "1", "ATOLL_LIMIT_VCPUS: this variable is no setting; did you mean ATOLL_LIMITS_VCPUS?"),
    ],
)
def test_what_is_wrong_is_refused_by_variable(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load_config(environ={name: value})
    assert caught.value.message == message


def test_variables_of_other_programs_are_left_alone() -> None:
    assert load_config(environ={"ATOLL_DEBUG": "1", "ATOLL_URL": "x", "POOL_SIZE": "x"}).pool.size == 2


def test_a_wrong_override_names_the_command_line() -> None:
    with pytest.raises(InvalidSpec, match=r"the command line: server\.listen: 'x' is not HOST:PORT"):
        load_config(environ={}, overrides={"server.listen": "x"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[egress]\nallow_private = ["10.0.0.0/8"]\n', "egress.allow_private"),
        ('[egress]\ntrusted_ca = ["ca.pem"]\n', "egress.trusted_ca"),
        ('[egress]\npassthrough = ["example.com"]\n', "egress.passthrough"),
        ('[egress]\non_unsubstituted = "block"\n', "egress.on_unsubstituted"),
        ('[egress.resolve]\n"a.test" = "127.0.0.1:1"\n', "egress.resolve"),
        ('[server]\nssh_listen = "127.0.0.1:22"\n', "server.ssh_listen"),
        ('[server]\npublic_domain = "example.com"\n', "server.public_domain"),
    ],
)
def test_a_setting_that_nothing_reads_yet_is_refused(file: Path, text: str, key: str) -> None:
    with pytest.raises(NotAvailable, match=f"{key} .*{file.name}.* is not available"):
        load(file, text)


def test_the_defaults_of_what_is_not_built_may_be_written_out(file: Path) -> None:
    text = (
        '[egress]\nallow_private = []\ntrusted_ca = []\npassthrough = []\non_unsubstituted = "flag"\n[egress.resolve]\n'
    )
    assert load(file, text) == dataclasses.replace(Config(), server=load(file, "").server)


@pytest.mark.parametrize("text", ["[egress]\nallow_private = [3]\n", '[egress]\nallow_private = "10.0.0.0/8"\n'])
def test_types_are_checked_before_availability(file: Path, text: str) -> None:
    with pytest.raises(InvalidSpec):
        load(file, text)


def test_lists_and_tables_come_from_variables_too() -> None:
    for name, value in (("ALLOW_PRIVATE", "10.0.0.0/8, 192.0.2.0/24"), ("RESOLVE", "a.test=127.0.0.1:1")):
        with pytest.raises(AtollError, match="not available"):
            load_config(environ={f"ATOLL_EGRESS_{name}": value})
    assert load_config(environ={"ATOLL_EGRESS_ALLOW_PRIVATE": ""}).egress.allow_private == ()


@pytest.mark.parametrize(
    ("environ", "is_root", "expected"),
    [
        ({"HOME": "/home/u"}, False, "/home/u/.local/state/atoll"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, False, "/s/atoll"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "relative"}, False, "/home/u/.local/state/atoll"),
        ({"HOME": "/root", "XDG_STATE_HOME": "/s"}, True, "/var/lib/atoll"),
    ],
)
def test_the_state_directory_is_the_users_or_the_systems(environ: dict[str, str], is_root: bool, expected: str) -> None:
    assert default_state_dir(environ, is_root=is_root) == Path(expected)


def test_the_file_is_the_named_one_or_the_users_and_never_the_current_directorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "atoll.toml").touch()
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "c")}
    assert find_config_file(environ) in (None, Path("/etc/atoll/atoll.toml"))
    users = tmp_path / "c/atoll/atoll.toml"
    users.parent.mkdir(parents=True)
    users.touch()
    assert find_config_file(environ) == users
    assert find_config_file({**environ, "ATOLL_CONFIG": "/x"}) == Path("/x")


def test_settings_are_frozen() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.pool.size = 3  # type: ignore[misc]
    assert os.fspath(config.server.images_dir) == os.fspath(config.server.state_dir / "images")
