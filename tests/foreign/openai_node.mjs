// The `openai` package of Node against a running `serve` with the dummy backend; run by hand:
//
//     npm install openai && THREADRUNNER_BACKEND=dummy threadrunner serve &
//     OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_API_KEY=any node tests/foreign/openai_node.mjs

import assert from "node:assert/strict";
import OpenAI from "openai";

const api = new OpenAI({ maxRetries: 0 });
const said = "lorem ipsum dolor sit amet hello.";
const hello = [{ role: "user", content: "hello" }];
const call = '!call weather {"city": "Bonn"}';

const checks = {
  async chat() {
    const answer = await api.chat.completions.create({ model: "default", messages: hello });
    assert.equal(answer.choices[0].message.content, said);
  },
  async stream() {
    let text = "";
    const stream = await api.chat.completions.create({ model: "default", messages: hello, stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, said);
  },
  async streamHelper() {
    const stream = api.chat.completions.stream({
      model: "default", messages: hello, stream_options: { include_usage: true },
    });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, said);
    assert.ok(final.usage.total_tokens > 0);
  },
  async toolRunner() {
    const asked = [];
    const weather = {
      type: "function",
      function: {
        name: "weather",
        parameters: { type: "object", properties: { city: { type: "string" } } },
        parse: JSON.parse,
        function: ({ city }) => (asked.push(city), "sunny"),
      },
    };
    const runner = api.chat.completions.runTools({
      model: "default", messages: [{ role: "user", content: call }], tools: [weather], stream: true,
    });
    assert.match(await runner.finalContent(), /sunny/);
    assert.deepEqual(asked, ["Bonn"]);
  },
  async responses() {
    const stream = api.responses.stream({ model: "default", input: "hello" });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    assert.equal((await stream.finalResponse()).output_text, said);
  },
  async errors() {
    await assert.rejects(api.chat.completions.create({ model: "no-such", messages: hello }), OpenAI.NotFoundError);
    await assert.rejects(api.chat.completions.create({ model: "default", messages: [] }), OpenAI.BadRequestError);
  },
  async models() {
    const ids = [];
    for await (const model of api.models.list()) ids.push(model.id);
    assert.ok(ids.length > 0);
  },
  async abort() {
    const stream = await api.chat.completions.create({ model: "default", messages: hello, stream: true });
    for await (const _ of stream) break; // hangs up
    await api.chat.completions.create({ model: "default", messages: hello });
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`passed  ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}`, error);
  }
}
process.exitCode = failed ? 1 : 0;
