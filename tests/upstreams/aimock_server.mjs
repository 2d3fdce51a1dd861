// Starts aimock on the fixtures of this folder and prints one JSON line when ready:
//
//     {"addr": "127.0.0.1:40123", "base_url": "http://127.0.0.1:40123/v1", "pid": 4711}
//
// It ends on SIGTERM, SIGINT, or when its standard input closes. Flags are aimock's own:
// --chaos-drop, --chaos-malformed, --chaos-disconnect, --chaos-ratelimit (probability 0 to 1),
// --chaos-latency (ms), --latency (ms between chunks), --chunk-size (characters), --fixtures, --port; and
// --count-items, for Responses: aimock counts each text and each call of the history as a turn there.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url));
const { LLMock } = createRequire(join(here, "package.json"))("@copilotkit/aimock");

const CHAOS = {
  "chaos-drop": "dropRate",
  "chaos-malformed": "malformedRate",
  "chaos-disconnect": "disconnectRate",
  "chaos-ratelimit": "rateLimitRate",
  "chaos-latency": "latencyMs",
};

const text = { type: "string" };
const { values } = parseArgs({
  options: {
    port: { ...text, default: "0" },
    fixtures: { ...text, default: join(here, "aimock", "fixtures.json") },
    latency: { ...text, default: "1" },
    "chunk-size": { ...text, default: "8" },
    "log-level": { ...text, default: "silent" },
    "count-items": { type: "boolean", default: false },
    ...Object.fromEntries(Object.keys(CHAOS).map((flag) => [flag, text])),
  },
});

function number(flag) {
  const value = Number(values[flag]);
  if (!Number.isFinite(value) || value < 0) {
    console.error(`--${flag}: ${values[flag]} is not a number from 0 up`);
    process.exit(2);
  }
  return value;
}

const chaos = {};
for (const [flag, field] of Object.entries(CHAOS)) {
  if (values[flag] !== undefined) chaos[field] = number(flag);
}

// A fixture's turn as aimock counts it: by what the scripted turns before it left in the history.
function countItems(fixtures) {
  const before = new Map();
  for (const { match, response } of fixtures) {
    const items = before.get(match.userMessage) ?? 0;
    before.set(match.userMessage, items + (response.content ? 1 : 0) + (response.toolCalls?.length ?? 0));
    if (match.turnIndex !== undefined) match.turnIndex = items;
  }
}

// A scripted turn fits only its own turn, or a run that never ends would be served an old one.
process.env.AIMOCK_STRICT_TURN_INDEX = "1";

const mock = new LLMock({
  host: "127.0.0.1",
  port: number("port"),
  latency: number("latency"),
  chunkSize: number("chunk-size"),
  logLevel: values["log-level"],
  strict: true, // a request no fixture matches is refused, not answered with something
  ...(Object.keys(chaos).length > 0 && { chaos }),
});
mock.loadFixtureFile(values.fixtures);
if (values["count-items"]) countItems(mock.getFixtures());
await mock.start();

const { host } = new URL(mock.url);
console.log(JSON.stringify({ addr: host, base_url: `http://${host}/v1`, pid: process.pid }));

const end = () => process.exit(0);
process.on("SIGTERM", end);
process.on("SIGINT", end);
process.stdin.on("end", end).on("close", end).on("error", end).resume();
