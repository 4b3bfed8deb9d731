// What the official client for JavaScript makes of this server. One line of JSON for each check on
// standard output; an exception ends it. Arguments: the package's folder, the server's URL, a key.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, url, key] = process.argv.slice(2);
const entry = createRequire(pathToFileURL(`${folder}/`)).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(entry));
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "Profits rose." }];
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};
const say = (name, value) => console.log(JSON.stringify([name, value]));

const { data, response } = await client.chat.completions
  .create({ model: "task:sentiment", messages })
  .withResponse();
say("task", [JSON.parse(data.choices[0].message.content), response.headers.get("x-inhouse-model-version")]);

const called = await client.chat.completions.create({ model: "local/weather", messages, tools: [weather] });
const call = called.choices[0].message.tool_calls[0];
const told = await client.chat.completions.create({
  model: "local/weather",
  messages: [...messages, called.choices[0].message, { role: "tool", tool_call_id: call.id, content: "snow" }],
  tools: [weather],
});
say("tools", [JSON.parse(call.function.arguments), told.choices[0].message.content]);

let text = "", usage = null;
const chunks = await client.chat.completions.create({
  model: "local/tokens", messages, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of chunks) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
say("stream", [text, usage.completion_tokens]);

const runner = client.chat.completions.stream({ model: "local/calls", messages, tools: [weather] });
const final = await runner.finalChatCompletion();
say("stream-tools", JSON.parse(final.choices[0].message.tool_calls[0].function.arguments));

const early = await client.chat.completions.create({ model: "local/stalls", messages, stream: true });
for await (const chunk of early) {
  if (chunk.choices[0]?.delta.content) break;
}
say("closed-early", early.controller.signal.aborted);

const vectors = await client.embeddings.create({ model: "local/embed", input: ["one", "two"] });
say("embeddings", vectors.data.map((one) => one.embedding));

const names = [];
for await (const model of client.models.list()) names.push(model.id);
say("models", names.includes("task:sentiment"));

const failures = {
  unknown: [client, { model: "task:nothing", messages }],
  invalid: [client, { model: "task:sentiment", messages: [...messages, ...messages] }],
  busy: [client, { model: "local/busy", messages }],
  down: [client, { model: "local/down", messages }],
  stranger: [client.withOptions({ apiKey: "ih_wrong" }), { model: "task:sentiment", messages }],
};
for (const [name, [who, body]] of Object.entries(failures)) {
  try {
    await who.chat.completions.create(body);
    say(name, "no error");
  } catch (error) {
    say(name, [error.constructor.name, error.status, error.code, error.headers.get("retry-after")]);
  }
}

try {
  for await (const _ of await client.chat.completions.create({ model: "local/dies", messages, stream: true }));
  say("dies", "no error");
} catch (error) {
  say("dies", [error instanceof OpenAI.APIError, Boolean(error.code)]);
}
