# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible needs of the machine and of its settings before it can run a playbook of ours.

Ansible ends where it doesn't like a locale, a folder or a setting, with a line of its own or a traceback.
Each of these is looked at first: what can be put right is, all else is a ConfigError that says what to do.
"""

from __future__ import annotations

import locale
import os
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

from ..config.folders import config_folder
from ..domain.errors import ConfigError, FleetError

__all__ = ["config_file", "load_ansible", "of_settings", "prepare_machine", "settings_of"]

CALLBACK = "dx.fleet.dispatch_results"
OWN_CONFIG = Path(__file__).with_name("ansible.cfg")
OTHER_COLLECTIONS = "~/.ansible/collections:/usr/share/ansible/collections"  # Ansible's default
UTF8_LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "UTF-8")

_OWN = {
    "ANSIBLE_STDOUT_CALLBACK": CALLBACK,
    "ANSIBLE_INVENTORY_ENABLED": "dx.fleet.vm_endpoints",  # another that takes the file would hide its errors
    "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS": "ignore",
    "ANSIBLE_RETRY_FILES_ENABLED": "false",
    "ANSIBLE_LOCALHOST_WARNING": "false",
    # What follows is Ansible's default. A person's configuration for other work may say otherwise, and would
    # hide results, leave steps out, end a wait, ask at the terminal, or let one VM end the run of the others.
    "ANSIBLE_FORKS": "5",
    "ANSIBLE_VERBOSITY": "0",
    "ANSIBLE_DEBUG": "false",
    "ANSIBLE_NO_LOG": "false",
    "ANSIBLE_TASK_TIMEOUT": "0",
    "ANSIBLE_STRATEGY": "ansible.builtin.linear",
    "ANSIBLE_ANY_ERRORS_FATAL": "false",
    "ANSIBLE_RUN_TAGS": "all",
    "ANSIBLE_SKIP_TAGS": "",
    "ANSIBLE_ENABLE_TASK_DEBUGGER": "false",
}


def prepare_machine(environ: MutableMapping[str, str]) -> None:
    """See that the current folder, the locale and the folders for temporary files can be used.

    Args:
        environ: The environment; a locale that can be used is put in where the given one can't.

    Raises:
        ConfigError: ``folder_gone``, ``locale_not_utf8``, ``no_temp_folder`` or ``home_not_writable``.
    """
    _check_current_folder()
    _use_utf8(environ)
    _check_temp_folder()
    _check_ansible_home(environ)


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Ansible's settings for a run, as environment variables: they go before any file's.

    The configuration file is that of ``ANSIBLE_CONFIG``, else ``$XDG_CONFIG_HOME/dx-fleet/ansible.cfg``, else
    ours, which says nothing: never one that lies in the current folder, or is for other work of this user.
    """
    own_root = Path(__file__).parents[6]
    others = environ.get("ANSIBLE_COLLECTIONS_PATH") or OTHER_COLLECTIONS
    return _OWN | {
        "ANSIBLE_CONFIG": str(config_file(environ)),
        "ANSIBLE_COLLECTIONS_PATH": f"{own_root}:{others}",
    }


def load_ansible(given: Mapping[str, str]) -> None:
    """Import Ansible, which reads its configuration meanwhile.

    Args:
        given: The environment as the user has it, for the message about it.

    Raises:
        ConfigError: ``ansible_settings``.
    """
    try:
        from ansible import _internal

        _internal.setup()
        # Where ansible.cli is the first to import it, its errors are a traceback on standard error.
        from ansible import constants  # noqa: F401
        from ansible.utils.display import Display

        Display()
        from ansible.cli import playbook  # noqa: F401
    except SystemExit as ended:
        raise _unusable(str(ended).removeprefix("ERROR: "), given) from ended
    except Exception as error:
        raise _unusable(str(error), given) from error


def of_settings(error: Exception, given: Mapping[str, str]) -> Exception:
    """Why a run could not begin: one of our own errors, else the user's settings where they have any."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FleetError):
            return cause
        cause = cause.__cause__
    return _unusable(str(error), given) if _settings_given(given) else error


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(
            "the current folder does not exist any more",
            reason_code="folder_gone",
            next_action="cd to a folder that exists, and run the same command again",
        ) from error


def _use_utf8(environ: MutableMapping[str, str]) -> None:
    """Ansible takes no locale but one of UTF-8. Where the given one is none, or not there: any that is."""
    if sys.getfilesystemencoding().lower() != "utf-8":
        raise _no_utf8(environ)  # words of the command line were not read as UTF-8
    for name in ("", *UTF8_LOCALES):
        with suppress(locale.Error, ValueError):
            locale.setlocale(locale.LC_ALL, name)
            if (locale.getlocale()[1] or "").lower() in ("utf-8", "utf8"):
                if name:
                    environ["LC_ALL"] = name
                return
    raise _no_utf8(environ)


def _no_utf8(environ: Mapping[str, str]) -> ConfigError:
    name = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "C")
    return ConfigError(
        f"the locale {name} is not one of UTF-8, and Ansible takes no other",
        reason_code="locale_not_utf8",
        next_action="put LC_ALL=C.UTF-8 before the command, or another that `locale -a` shows",
    )


def _check_temp_folder() -> None:
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(
            "there is no folder for temporary files that can be written",
            reason_code="no_temp_folder",
            next_action="set TMPDIR to a folder that can be written",
        ) from error


def _check_ansible_home(environ: Mapping[str, str]) -> None:
    """Ansible makes files of its own for each run, by default in ~/.ansible."""
    home = Path(os.path.expanduser(environ.get("ANSIBLE_HOME") or "~/.ansible"))
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigError(
            f"Ansible can't write in its folder {home}: {error.strerror}",
            reason_code="home_not_writable",
            next_action="set ANSIBLE_HOME to a folder that can be written, or HOME",
        ) from error


def config_file(environ: Mapping[str, str]) -> Path:
    """Ansible's configuration file, see :func:`settings_of`."""
    if environ.get("ANSIBLE_CONFIG"):
        return Path(environ["ANSIBLE_CONFIG"])
    with suppress(RuntimeError):
        own = config_folder(environ) / "ansible.cfg"
        if os.access(own, os.R_OK):
            return own
    return OWN_CONFIG


def _unusable(said: str, given: Mapping[str, str]) -> ConfigError:
    settings = _settings_given(given)
    return ConfigError(
        f"Ansible can't run: {' '.join(said.split())}",
        reason_code="ansible_settings",
        next_action=f"look at {', '.join(settings)}; if that is not it, run the same with -vvv and report it"
        if settings
        else "see what `ansible --version` says",
    )


def _settings_given(given: Mapping[str, str]) -> list[str]:
    """The user's own settings of Ansible: the file, and variables of the environment that have a say."""
    file = config_file(given)
    variables = sorted(name for name in given if name.startswith("ANSIBLE_") and name not in _OWN)
    return ([str(file)] if file != OWN_CONFIG else []) + [
        name for name in variables if name not in ("ANSIBLE_CONFIG", "ANSIBLE_FORKS", "ANSIBLE_HOME")
    ]
