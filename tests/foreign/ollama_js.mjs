// The `ollama` package of npm as a client of a running `threadrunner serve` with the dummy backend:
//
//     npm install ollama && THREADRUNNER_BACKEND=dummy threadrunner serve &
//     node tests/foreign/ollama_js.mjs http://127.0.0.1:8765
import assert from 'node:assert'
import { Ollama } from 'ollama'

const api = new Ollama({ host: process.argv[2] })
const SAID = 'lorem ipsum dolor sit amet hello.'
const hello = [{ role: 'user', content: 'hello' }]
const call = [{ role: 'user', content: '!call weather {"city": "Bonn"}' }]
const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }]

async function collected(stream, piece) {
  let text = ''
  for await (const part of stream) text += piece(part) ?? ''
  return text
}

async function refused(status, ask) {
  await assert.rejects(ask, (error) => error.status_code === status && error.message.length > 10)
}

const checks = {
  async models() {
    assert((await api.list()).models.some((model) => model.name === 'dummy'))
    assert((await api.show({ model: 'dummy' })).capabilities.includes('tools'))
    assert((await api.version()).version)
  },
  async generate() {
    assert.equal((await api.generate({ model: 'dummy', prompt: 'hello' })).response, SAID)
    const stream = await api.generate({ model: 'dummy', prompt: 'hello', stream: true })
    assert.equal(await collected(stream, (part) => part.response), SAID)
  },
  async chat() {
    assert.equal((await api.chat({ model: 'dummy', messages: hello })).message.content, SAID)
    const messages = [{ role: 'user', content: '!think hm\nhello' }]
    const stream = await api.chat({ model: 'dummy', messages, think: true, stream: true })
    assert.equal(await collected(stream, (part) => part.message.thinking), 'hm')
  },
  async tools() {
    const { message } = await api.chat({ model: 'dummy', messages: call, tools })
    assert.deepEqual(message.tool_calls[0].function.arguments, { city: 'Bonn' })
    const result = { role: 'tool', content: 'sunny', tool_name: 'weather' }
    const answer = await api.chat({ model: 'dummy', messages: [...call, message, result], tools })
    assert.match(answer.message.content, /sunny/)
    const stream = await api.chat({ model: 'dummy', messages: call, tools, stream: true })
    assert.equal(await collected(stream, (part) => (part.message.tool_calls ? 'x' : '')), 'x')
  },
  async errors() {
    await refused(403, () => api.pull({ model: 'x' }))
    await refused(404, () => api.chat({ model: 'no-such', messages: hello }))
  },
  async abort() {
    const messages = [{ role: 'user', content: 'word '.repeat(50000) }]
    const stream = await api.chat({ model: 'dummy', messages, stream: true })
    await assert.rejects(
      collected(stream, () => stream.abort()),
      { name: 'AbortError' },
    )
  },
}

for (const [name, check] of Object.entries(checks)) {
  await check()
  console.log(`passed  ${name}`)
}
