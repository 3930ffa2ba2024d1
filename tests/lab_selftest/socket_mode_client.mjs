// Copyright: dx.fleet contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// Slack's own Socket Mode client for Node: prints each envelope that it got as a line of JSON, and acknowledges it.
import { createRequire } from "node:module";
const { SocketModeClient } = createRequire(process.env.CLIENT_FROM)("@slack/socket-mode");
const client = new SocketModeClient({
  appToken: process.env.SLACK_APP_TOKEN,
  clientOptions: { slackApiUrl: process.env.SLACK_API_URL },
});
const print = (what) => process.stdout.write(JSON.stringify(what) + "\n");
client.on("connected", () => print({ connected: true }));
client.on("slack_event", async ({ ack, body, type, retry_num }) => {
  await ack();
  print({ type, text: body.event?.text ?? body.text ?? body.actions?.[0]?.value, retry_num });
});
process.stdin.resume().on("end", () => process.exit(0));
await client.start();
