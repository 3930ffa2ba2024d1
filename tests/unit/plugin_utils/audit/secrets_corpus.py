# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of the usual kinds as they stand in task texts and logs. All are made up.

They are put together here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

__all__ = ["LEAKS", "PLAIN"]

_X = "Q7w3Er9Ty5Ui1Op8As2Df6Gh4Jk0Lz"
_HEX = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_B64 = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY99"
_KEY_BODY = "MIIEpAIBAAKCAQEA3Tz2mr7SZiAMfQyuvBjM9OiZ1BjP5CE/Wm/Rr500P"


def _key(kind: str) -> str:
    return f"-----{'BEGIN'} {kind}-----\n{_KEY_BODY}\n{_KEY_BODY}\n-----END {kind}-----"


# (text, what must not be left of it)
LEAKS: list[tuple[str, str]] = [
    (f"use {'xoxb-'}1234567890-123456-{_X} here", _X),
    (f"{'xoxp-'}1-2-3-{_HEX}", _HEX),
    (f"{'xoxe.xoxp-'}1-{_X}", _X),
    (f"{'xapp-'}1-A0123-456-{_HEX}", _HEX),
    (f"https://hooks.slack.com/services/T000/B000/{_X}", _X),
    (f"git clone https://{'ghp_'}{_X}abcdef@github.com/a/b", _X),
    (f"log:\\n{'ghp_'}{_X}abcdef\\nend", _X),
    (f"{'github_pat_'}11ABCDEFG0{_X}_{_X}", _X),
    (f"{'gho_'}{_X}abcdef", _X),
    (f"{'glpat-'}{_X}", _X),
    (f"{'sk-'}{_X}{_X}", _X),
    (f"{'sk-ant-'}api03-{_X}-AA", _X),
    (f"{'sk-proj-'}{_X}", _X),
    (f"{'AKIA'}IOSFODNN7EXAMPLE {_B64}", _B64),
    (f"{'AKIA'}IOSFODNN7EXAMPLE", "IOSFODNN7"),
    (f"AWS_SECRET_ACCESS_KEY={_B64}", _B64),
    (f"aws_secret_access_key = {_B64}", _B64),
    (f"{'AIza'}SyA{_X}abcdef", _X),
    (f"{'sk_'}live_{_X}", _X),
    (f"{'rk_'}test_{_X}", _X),
    (f"//registry.npmjs.org/:_authToken={'npm_'}{_X}abcdef", _X),
    (f"{'npm_'}{_X}abcdef", _X),
    (f"{'pypi-'}AgEIcHlwaS5vcmc{_X}", _X),
    (f"{'hf_'}{_X}", _X),
    (f"{'eyJ'}hbGciOiJIUzI1NiJ9.{'eyJ'}zdWIiOiIxIn0.{_X}", _X),
    (f"Authorization: Bearer {_X}", _X),
    (f"curl -H 'Authorization: Basic {_X}==' x", _X),
    (f"authorization: swordfish-{_X}", _X),
    (f"with bearer {_X}", _X),
    (f"X-Api-Key: {_X}", _X),
    (f"Cookie: session={_X}; theme=dark", _X),
    (f"Set-Cookie: sid={_X}; Path=/", _X),
    (_key("RSA PRIVATE KEY"), _KEY_BODY),
    (_key("PRIVATE KEY"), _KEY_BODY),
    (_key("OPENSSH PRIVATE KEY") + " and text", _KEY_BODY),
    (_key("PGP PRIVATE KEY BLOCK"), _KEY_BODY),
    (_key("EC PRIVATE KEY").split("-----END")[0], _KEY_BODY),
    (_key("RSA PRIVATE KEY").replace("\n", "\\n"), _KEY_BODY),
    ("postgres://app:hunter22@db.example/x", "hunter22"),
    ("redis://:hunter22@cache:6379/0", "hunter22"),
    ("amqp://u:p@ss@word22@mq", "word22"),
    (f"https://{_X}@git.example/x", _X),
    ("PASSWORD=hunter22", "hunter22"),
    ("DB_PASSWORD=hunter22,more", "more"),
    ("export DB_PASS='hunter 22 x'; ls", "22 x"),
    ("PASS_PHRASE: hunter22", "hunter22"),
    ("cmd='export API_KEY=hunter22 && run'", "hunter22"),
    ('{"password": "hunter 22 \\" x", "user": "joe"}', '22 \\" x'),
    ('{"dbPassword":"hunter22"}', "hunter22"),
    ("{'client_secret': 'hunter22'}", "hunter22"),
    ('"{\\"password\\": \\"hunter 22\\"}"', "hunter 22"),
    ("password=12345678", "12345678"),
    ("MYSQL_PWD=hunter22", "hunter22"),
    ("EPYC6_PW=hunter22", "hunter22"),
    ("DATADOG_KEY=hunter22", "hunter22"),
    ("auth_token: hunter22", "hunter22"),
    ("os.environ['API_TOKEN'] = 'hunter22'", "hunter22"),
    ("process.env.SECRET = `hunter22`", "hunter22"),
    ("secret => 'hunter22'", "hunter22"),
    ("mysql --password hunter22 -u root", "hunter22"),
    ("mysql --password=hunter22 -u root", "hunter22"),
    ("gh auth --token hunter22", "hunter22"),
    ("curl -u joe:hunter22 https://x", "hunter22"),
    ("curl --user 'joe:hunter22' https://x", "hunter22"),
    ("the password is hunter22, use it", "hunter22"),
    ("its token is hunter22!", "hunter22"),
    ("PASSWORD='it'\\''s22' x", "s22"),
    ("https://x.example/cb?access_token=hunter22&state=1", "hunter22"),
    (
        "$ANSIBLE_VAULT;1.1;AES256\n          62313365396662343061393464336163383764373764613633653634306231386433626436623361\n",
        "62313365",
    ),
]

PLAIN = [
    "Run make test",
    "[epyc6] Session created: ses_dx-01M84H5QCGX6448X2AHWR5CDRF-4ef007189ed2",
    "[epyc6] Completed: tests passed (make test -> exit 0, 240 tokens, $0.0012, 4.6 s)",
    "fix the author: Jane; see commit 4ef007189ed24ef007189ed24ef007189ed24ef0",
    "task-runner-with-a-very-long-name-1 in risk-assessment-2026-11-22",
    "max_tokens=4096, tokens: 240, pass=3 fail=0",
    "http://127.0.0.1:4105/session and ssh://git@host:22/x",
    "The primary_key: id; PWD=/srv/affordabot",
    "basic authentication with bearer authentication",
    "the token was revoked",
    "fix the token counting: it is wrong",
    "Basic formatting. Then the token refreshing: both are old",
    "10:00:01 epyc6 ok: the agent finished: 3 passed",
    "dx-dispatch --id 01M84H6478VVE56E3XRV0CR3AN epyc6",
]
