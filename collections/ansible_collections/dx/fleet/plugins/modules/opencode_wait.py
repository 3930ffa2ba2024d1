#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_wait
short_description: Follow OpenCode sessions to their outcome
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Waits until a session has an outcome, and tells what it does meanwhile, one line per change.
  - What became of it is read back from the server. A lost event, a broken connection or a restarted server
    delays the answer and does not change it.
  - A session that waits for a permission or for an answer ends the wait at once, as V(needs_input), unless
    O(answer_policy) or O(on_input) says otherwise.
  - On reaching a limit (O(timeout), O(stall_timeout), O(max_steps), O(max_cost)) the session is aborted, and the
    outcome says so, with what was learned.
  - The task fails unless the outcome is V(completed).
  - One session per host is the usual way. O(sessions) waits for any number, on any servers, in one task with
    C(run_once), at a small part of the cost.
extends_documentation_fragment:
  - dx.fleet.request
  - dx.fleet.connection
  - dx.fleet.attributes
  - dx.fleet.action_group
attributes:
  check_mode:
    support: full
    details:
      - The task is skipped.
  idempotent:
    support: full
    details:
      - A repeat reports the same outcome.
options:
  sent:
    description:
      - What M(dx.fleet.opencode_dispatch) returned, whole. It gives O(session), O(message_id), O(id), O(directory), O(repo)
        and O(bead), unless the task has them itself.
    type: dict
    default: {}
  session:
    description: Id of the session. One of O(session), O(sent) and O(sessions) is needed.
    type: str
  message_id:
    description: Id of the user message that began the turn to wait for. Default is the session's last turn.
    type: str
  id:
    description: Dispatch id, for the outcome and for the command that joins the dispatch again.
    type: str
  bead:
    description: The bead that the task is about, for the outcome and for Slack.
    type: str
  repo:
    description: Name of the repository, for the outcome.
    type: str
  directory:
    description:
      - Where the session works, as M(dx.fleet.opencode_dispatch) returned it. It spares asking its server, which is
        asked all the same before anything bad is believed of the session.
    type: str
  sessions:
    description:
      - Several sessions to wait for, instead of O(session).
      - An entry without O(sessions[].url) is on the server that the task's own options (or the host) name.
    type: list
    elements: dict
    suboptions:
      vm:
        description: Name of the VM, for the outcome.
        type: str
        required: true
      session:
        description: Id of the session.
        type: str
        required: true
      message_id:
        description: As O(message_id).
        type: str
      id:
        description: As O(id).
        type: str
      bead:
        description: As O(bead).
        type: str
      repo:
        description: As O(repo).
        type: str
      directory:
        description: As O(directory).
        type: str
      url:
        description: Base URL of its server.
        type: str
      username:
        description: User name for that server.
        type: str
      password:
        description: Password of that server.
        type: str
      password_env:
        description: Environment variable of the controller that holds the password of that server.
        type: str
      transport:
        description:
          - How that server is reached. Default is the host variable C(opencode_transport) of the inventory host
            O(sessions[].vm), else V(auto).
        type: str
        choices: [auto, http, ssh]
  timeout:
    description: Stop a session that has no outcome after so many seconds of waiting; V(0) is never.
    type: float
    default: 3600.0
  stall_timeout:
    description:
      - Stop a session of which nothing moved (no text, no tool, no step) for so many seconds; V(0) is never.
    type: float
    default: 600.0
  max_cost:
    description: Stop a session whose turn costs more than so many US dollars.
    type: float
  max_steps:
    description: Stop a session whose turn has more steps of the agent; V(0) is no limit.
    type: int
    default: 300
  server_grace:
    description:
      - For how many seconds a server may refuse connections before its sessions are given up as V(lost). One that
        accepts them and is silent has three times as long, then its sessions are V(unreachable).
    type: float
    default: 20.0
  on_input:
    description:
      - What is done when a session waits for a permission or an answer that no rule of O(answer_policy) names.
      - V(fail) ends the wait as V(needs_input). V(reject) rejects it, which ends the turn of the agent.
      - V(ask) says what is asked, and goes on waiting until somebody has answered, by M(dx.fleet.opencode_reply) or
        otherwise. O(stall_timeout) does not run meanwhile; at O(timeout) the wait ends as V(needs_input).
    type: str
    choices: [ask, fail, reject]
    default: fail
  answer_policy:
    description:
      - Rules by which permissions are answered without asking anybody. One that is denied by any rule is rejected, and the
        agent goes on with the words of the rule. It is allowed, once, where each of its patterns is allowed. Any other is
        asked for.
      - Default is the host variable C(dx_answer_policy), which the inventory plugin
        P(dx.fleet.vm_endpoints#inventory) sets from C(answer_policy) of the endpoints file.
    type: list
    elements: dict
    default: []
    suboptions:
      action:
        description: What the rule says.
        type: str
        required: true
        choices: [allow, deny]
      permission:
        description: The kind of permission as OpenCode reports it, such as C(bash). C(*) stands for any text.
        type: str
        required: true
      pattern:
        description:
          - What it is wanted for, such as C(make *). C(*) stands for any text, C(?) for one character.
          - What a rule to allow matches has no other C(..) in a path and none of C(;&|<>$`(\)) or line breaks than the
            pattern itself has, unless the pattern is just C(*).
        type: str
        default: "*"
seealso:
  - module: dx.fleet.opencode_dispatch
  - module: dx.fleet.opencode_info
"""

EXAMPLES = r"""
- name: Follow one session per VM
  hosts: opencode
  gather_facts: false
  strategy: ansible.builtin.free
  tasks:
    - name: Send the task
      dx.fleet.opencode_dispatch:
        repo: affordabot
        task: Run make test
      register: sent

    - name: Follow it, half an hour at most
      dx.fleet.opencode_wait:
        sent: "{{ sent }}"
        timeout: 1800
        max_cost: 2.5

- name: Follow all sessions in one place
  hosts: opencode
  gather_facts: false
  tasks:
    - name: Send the task
      dx.fleet.opencode_dispatch:
        repo: affordabot
        task: Run make test
      register: sent

    - name: Note where it runs
      ansible.builtin.set_fact:
        sent_to:
          vm: "{{ inventory_hostname }}"
          url: "{{ opencode_url }}"
          session: "{{ sent.session }}"
          message_id: "{{ sent.message }}"

    - name: Follow all of them
      dx.fleet.opencode_wait:
        sessions: "{{ ansible_play_hosts | map('extract', hostvars, 'sent_to') }}"
      run_once: true
"""

RETURN = r"""
outcome:
  description: What became of the session; what is unknown is null.
  returned: when one session was asked for
  type: dict
  sample:
    state: completed
    reason_code: completed
    message_to_human: "the agent wrote: 3 passed"
    next_action: null
    vm: epyc6
    repo: affordabot
    dispatch: 01J9ZK3V4N8Q5W2X7Y6T1R0PMA
    session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
    message: msg_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
    bead: null
    started_at: "2026-01-04T09:30:12.417+00:00"
    duration_s: 8.204
    evidence:
      session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
      directory: /home/feng/affordabot
      agent: build
      model: scripted/main
      steps: 2
      tools: [{tool: bash, title: make test, status: completed, exit: 0}]
      tool_count: 1
      text: 3 passed
      tokens: {input: 200, output: 40, reasoning: 0, cache_read: 0, cache_write: 0}
      cost: 0.0006
      duration_s: 8.204
    audit: null
  contains:
    state:
      description:
        - V(completed) (the agent finished; nothing of ours checked its work); V(no_op) (it ended its turn without
          work); V(failed) (the agent or its model); V(needs_input); V(aborted) (by someone, or by
          O(max_steps) or O(max_cost)); V(timed_out); V(stalled); V(lost) (the server died with it); V(unreachable).
      type: str
    reason_code:
      description: Why, as a stable name.
      type: str
      sample: model_rate_limited
    message_to_human:
      description: The same in one line of words, beginning with the VM.
      type: str
    next_action:
      description: The command to run next, or null where nothing is left to do.
      type: str
      sample: dx-dispatch epyc6 affordabot 'Continue work' --session ses_abc123
    vm:
      description: Name of the VM.
      type: str
    repo:
      description: Name of the repository.
      type: str
    dispatch:
      description: The dispatch id.
      type: str
    session:
      description: Id of the session.
      type: str
    message:
      description: Id of the user message that began the turn.
      type: str
    bead:
      description: Issue that the dispatch works on.
      type: str
    started_at:
      description: When the turn began, ISO 8601 in UTC.
      type: str
    duration_s:
      description: How long the turn took, in seconds, by the server's clock.
      type: float
    audit:
      description: Where people read of the dispatch.
      type: dict
    evidence:
      description: What was read back from the server.
      type: dict
      contains:
        session:
          description: Id of the session.
          type: str
        directory:
          description: The directory in which it works.
          type: str
        server_version:
          description: Version of OpenCode.
          type: str
        transport:
          description: The way on which the server was reached, V(http) or V(ssh).
          type: str
        agent:
          description: Agent that did the task.
          type: str
        model:
          description: Model that did the task, as V(provider/model).
          type: str
        steps:
          description: Number of the agent's steps.
          type: int
        tools:
          description: The agent's tool calls in their order, the last hundred at most.
          type: list
          elements: dict
          contains:
            tool:
              description: Name of the tool.
              type: str
            title:
              description: What it did, such as the command of a shell call.
              type: str
            status:
              description: V(completed), V(error), V(cut_short) (by a time-out or an abort), or what it was at the end.
              type: str
            exit:
              description: Exit code of a shell command; null for other tools, after a time-out or an abort.
              type: int
        tool_count:
          description: Number of tool calls.
          type: int
        text:
          description: The agent's final answer, its first 4000 characters.
          type: str
        error:
          description: The model's or the server's error.
          type: str
        request:
          description: The permission or question that waits for a person.
          type: dict
        tokens:
          description: Number of tokens of the turn, by kind.
          type: dict
        cost:
          description: Cost of the turn in US dollars.
          type: float
        branch:
          description: The branch of the worktree.
          type: str
        commits:
          description: How many commits the work has.
          type: int
        pushed:
          description: Whether the remote has them.
          type: bool
        verify_duration_s:
          description: How long the check ran, in seconds.
          type: float
        verify_output:
          description: The file on the VM that has what the check printed.
          type: str
        verify_tail:
          description: The end of what it printed.
          type: str
        tests_source:
          description: Where the counts of the tests come from.
          type: str
        failed_tests:
          description: The tests that failed.
          type: list
          elements: str
        tests_changed:
          description: Files of tests that the work changed.
          type: list
          elements: str
        check_files_changed:
          description: Files of the check itself that the work changed.
          type: list
          elements: str
        processes_left:
          description: How many processes the check had left running.
          type: int
        head_before:
          description: Commit before the task.
          type: str
        head_after:
          description: Commit after the task.
          type: str
        dirty_files:
          description: Files with uncommitted changes.
          type: list
          elements: str
        diffstat:
          description: What changed, in numbers of lines.
          type: str
        verify_rc:
          description: Exit code of the verify command.
          type: int
        tests:
          description: Numbers of tests by result.
          type: dict
        duration_s:
          description: How long the turn took, in seconds.
          type: float
        started_at:
          description: When the turn began, ISO 8601 in UTC, by the server's clock.
          type: str
        ended_at:
          description: When the turn ended, by the server's clock.
          type: str
        noticed_at:
          description: When the controller noticed that, by its own clock.
          type: str
outcomes:
  description: The outcomes of all sessions, those of one server together, each as RV(outcome).
  returned: when several sessions were asked for
  type: list
  elements: dict
reason_code:
  description: RV(outcome.reason_code) of the (first) session that did not complete.
  returned: failure
  type: str
  sample: permission_pending
next_action:
  description: RV(outcome.next_action) of the (first) session that did not complete.
  returned: failure
  type: str
  sample: dx-fleet answer ses_abc123 once --request per_1
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import WAIT


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=WAIT, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_wait: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
