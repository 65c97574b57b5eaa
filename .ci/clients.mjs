// Lets the clients that people use talk to the proxy: in good times, when they
// are refused, when Ollama fails, and when they leave. It is run by
// .ci/clients. The names of the models choose how the stand-in for Ollama
// behaves: see handler/standin/doc.go.
import assert from 'node:assert/strict';
import { File } from 'node:buffer';
import OpenAI, { toFile } from 'openai';
import { Ollama } from 'ollama';
import Anthropic from '@anthropic-ai/sdk';
import Anthropic0 from 'anthropic-0';

globalThis.File ??= File; // openai's uploads need it, node 18 has it only there

const { PROXY_ADDRESS, PROXY_METRICS, PROXY_KEY: key } = process.env;
assert.ok(PROXY_ADDRESS && PROXY_METRICS && key, 'run .ci/clients instead');
const url = `http://${PROXY_ADDRESS}`;
const forged = key.replace(/\.(.)/, (_, first) => (first === 'A' ? '.B' : '.A'));

const model = 'llama3.2';
const pace = 40; // ms between two tokens of the stand-in's
const tokens = 25; // that we ask for: enough to tell a stream from a burst
const tooLong = 'x'.repeat(70_000); // more than --max-body, and the sockets' buffers hold it
const farTooLong = 'x'.repeat(8_000_000); // refused while it is still being sent
const patience = 15_000; // ms, for a check; the longest takes three seconds

// A client has routes. Each asks a question, says what text a whole answer and
// an event of a stream hold, and whether it streams only, never, or both.
const ask = (q) => [{ role: 'user', content: q.prompt }];
const streamed = { stream: true }, whole = { stream: false };

const openai = {
  name: 'openai',
  connect: (apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: patience, logLevel: 'off' }),
  error: errorOf(OpenAI, { 400: 'BadRequestError', 401: 'AuthenticationError', 403: 'PermissionDeniedError', 404: 'NotFoundError' }),
  said: (e) => e.error.message,
  routes: [
    {
      name: 'chat', path: '/v1/chat/completions',
      call: (c, q, o) => c.chat.completions.create({ model: q.model, messages: ask(q), max_tokens: tokens, stream: q.stream }, o),
      text: (answer) => answer.choices[0].message.content,
      piece: (event) => event.choices[0].delta.content,
    },
    {
      name: 'chat.stream()', path: '/v1/chat/completions', only: streamed,
      call: (c, q, o) => c.chat.completions.stream({ model: q.model, messages: ask(q), max_tokens: tokens }, o),
      piece: (event) => event.choices[0].delta.content,
      final: async (stream) => (await stream.finalChatCompletion()).choices[0].message.content,
    },
    {
      name: 'completions', path: '/v1/completions',
      call: (c, q, o) => c.completions.create({ model: q.model, prompt: q.prompt, max_tokens: tokens, stream: q.stream }, o),
      text: (answer) => answer.choices[0].text,
      piece: (event) => event.choices[0].text,
    },
    {
      name: 'responses', path: '/v1/responses',
      call: (c, q, o) => c.responses.create({ model: q.model, input: q.prompt, max_output_tokens: tokens, stream: q.stream }, o),
      text: (answer) => answer.output_text,
      piece: (event) => event.type === 'response.output_text.delta' && event.delta,
    },
    {
      name: 'responses.stream()', path: '/v1/responses', only: streamed,
      call: (c, q, o) => c.responses.stream({ model: q.model, input: q.prompt, max_output_tokens: tokens }, o),
      piece: (event) => event.type === 'response.output_text.delta' && event.delta,
      final: async (stream) => (await stream.finalResponse()).output_text,
    },
    {
      name: 'embeddings', path: '/v1/embeddings', only: whole,
      call: (c, q, o) => c.embeddings.create({ model: q.model, input: q.prompt }, o),
      text: (answer) => answer.data[0].embedding.join(),
    },
    {
      name: 'transcriptions', path: '/v1/audio/transcriptions', only: whole,
      call: async (c, q, o) => c.audio.transcriptions.create({ model: q.model, file: await toFile(Buffer.from(q.prompt), 'a.wav') }, o),
      text: (answer) => answer.text,
    },
  ],
};

const anthropic = {
  name: 'anthropic',
  connect: (apiKey) => new Anthropic({ baseURL: url, apiKey, maxRetries: 0, timeout: patience, logLevel: 'off' }),
  error: errorOf(Anthropic, {
    400: 'BadRequestError', 401: 'AuthenticationError', 403: 'PermissionDeniedError', 404: 'NotFoundError',
    413: 'ContentTooLargeError', 503: 'ServiceUnavailableError',
  }),
  said: (e) => e.error.error.message,
  routes: [
    {
      name: 'messages', path: '/v1/messages',
      call: (c, q, o) => c.messages.create({ model: q.model, messages: ask(q), max_tokens: tokens, stream: q.stream }, o),
      text: (answer) => answer.content[0].text,
      piece: (event) => event.type === 'content_block_delta' && event.delta.text,
    },
    {
      name: 'messages.stream()', path: '/v1/messages', only: streamed,
      call: (c, q, o) => c.messages.stream({ model: q.model, messages: ask(q), max_tokens: tokens }, o),
      piece: (event) => event.type === 'content_block_delta' && event.delta.text,
      final: (stream) => stream.finalText(),
    },
  ],
};

// The same, with the key where the other credentials of Anthropic's clients go.
const anthropicToken = {
  ...anthropic, name: 'anthropic (authToken)',
  connect: (authToken) => new Anthropic({ baseURL: url, authToken, maxRetries: 0, timeout: patience, logLevel: 'off' }),
};
const anthropicOld = {
  ...anthropic, name: 'anthropic 0.x (x-api-key)',
  connect: (apiKey) => new Anthropic0({ baseURL: url, apiKey, authToken: null, maxRetries: 0, timeout: patience, logLevel: 'off' }),
  error: errorOf(Anthropic0, { 400: 'BadRequestError', 401: 'AuthenticationError', 403: 'PermissionDeniedError', 404: 'NotFoundError' }),
};

const ollama = {
  name: 'ollama',
  connect: (key) => new Ollama({ host: url, headers: key && { Authorization: `Bearer ${key}` } }),
  error: (e, status) => {
    assert.equal(e.name, 'ResponseError', e.message); // the class is not exported
    assert.equal(e.status_code, status);
  },
  said: (e) => e.error,
  routes: [
    {
      name: 'chat', path: '/api/chat',
      call: (c, q) => c.chat({ model: q.model, messages: ask(q), options: { num_predict: tokens }, stream: q.stream }),
      text: (answer) => answer.message.content,
      piece: (line) => line.message.content,
    },
    {
      name: 'generate', path: '/api/generate',
      call: (c, q) => c.generate({ model: q.model, prompt: q.prompt, options: { num_predict: tokens }, stream: q.stream }),
      text: (answer) => answer.response,
      piece: (line) => line.response,
    },
    {
      name: 'embed', path: '/api/embed', only: whole,
      call: (c, q) => c.embed({ model: q.model, input: q.prompt }),
      text: (answer) => answer.embeddings[0].join(),
    },
    {
      name: 'embeddings', path: '/api/embeddings', only: whole,
      call: (c, q) => c.embeddings({ model: q.model, prompt: q.prompt }),
      text: (answer) => answer.embedding.join(),
    },
  ],
};

const everyone = [openai, ollama, anthropic, anthropicToken, anthropicOld];

// errorOf checks that an exception is of the class that the client has for the
// status.
function errorOf(client, classes) {
  return (e, status) => {
    const name = classes[status] ?? (status >= 500 ? 'InternalServerError' : 'APIError');
    assert.equal(e.constructor, client[name], `${e.constructor.name} is not the client's ${name}: ${e.message}`);
    assert.equal(e.status, status);
  };
}

// modes are the ways to ask on a route.
const modes = (route) => (route.only ? [route.only] : [whole, streamed]);
const inMode = (route, mode) => `${route.name}${route.only ? '' : mode.stream ? ' stream' : ' whole'}`;

// answer asks and returns all of the text. What it has seen so far is in seen,
// also when it throws. after is called after each event.
async function answer(client, route, question, { key: with_ = key, seen = {}, after = () => {}, signal } = {}) {
  const q = { model, prompt: 'Why is the sky blue?', ...question };
  const got = await route.call(client.connect(with_), q, signal && { signal });
  if (!q.stream) return route.text(got);
  Object.assign(seen, { events: 0, text: '', times: [] });
  for await (const event of got) {
    seen.events++;
    const piece = route.piece(event);
    if (piece) {
      seen.text += piece;
      seen.times.push(performance.now());
    }
    after(got);
  }
  return route.final ? route.final(got) : seen.text;
}

// Checks run one after the other, so that the metrics tell about one of them.
const failures = [];
let count = 0;
async function check(name, run) {
  count++;
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(reject, patience, new Error('took too long')); });
  try {
    await Promise.race([run(), late]);
    console.log(`ok ${name}`);
  } catch (e) {
    failures.push(name);
    console.log(`FAILED ${name}: ${e.name}: ${e.message.replaceAll(key, '(the key)')}`);
  }
  clearTimeout(timer);
}

// refused checks that a call fails with the status, and that the client's own
// exception says why, both to people and where the client's dialect has it.
async function refused(client, call, status, message) {
  let got;
  try {
    got = await call();
  } catch (e) {
    client.error(e, status);
    assert.ok(e.message.includes(message), `"${message}" is not in "${e.message}"`);
    assert.ok(client.said(e)?.includes?.(message), `not in the client's dialect: ${JSON.stringify(e.error)}`);
    return;
  }
  assert.fail(`was answered: ${JSON.stringify(got)?.slice(0, 200)}`);
}

// broken checks that an answer ends in an exception, not as if it were whole.
async function broken(call, message) {
  let got;
  try {
    got = await call();
  } catch (e) {
    assert.ok(e.message.includes(message), `"${message}" is not in "${e.name}: ${e.message}"`);
    return;
  }
  assert.fail(`ended as if it were whole: ${JSON.stringify(got)}`);
}

// metric adds up all series of the name with these labels.
async function metric(name, ...labels) {
  const text = await (await fetch(`http://${PROXY_METRICS}/metrics`)).text();
  return text.split('\n')
    .filter((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

// counted waits until the metric has grown by one.
async function counted(before, ...series) {
  for (let i = 0; i < 100 && (await metric(...series)) <= before; i++) await new Promise((r) => setTimeout(r, 50));
  assert.equal(await metric(...series), before + 1, `${series.join(' ')} did not grow by one`);
}

// ---- good times

for (const client of everyone) {
  for (const route of client.routes) {
    let text; // of the whole answer, for the streamed one to be equal to
    const twin = route.only === streamed && client.routes.find((r) => r.path === route.path && !r.only);
    for (const mode of modes(route)) {
      await check(`${client.name} ${inMode(route, mode)}`, async () => {
        if (!mode.stream) {
          text = await answer(client, route, mode);
          assert.ok(text);
          return;
        }
        if (twin) text = await answer(client, twin, whole);
        const seen = {};
        assert.equal(await answer(client, route, mode, { seen }), text);
        assert.equal(seen.text, text);
        assert.ok(seen.times.length > 1, 'came in one piece');
        // Held back and sent in bursts, they would have few pauses between
        // them. A busy machine may lose some, but not three in four.
        const pauses = seen.times.filter((t, i) => i > 0 && t - seen.times[i - 1] > pace / 4).length;
        assert.ok(pauses >= tokens / 4, `${seen.times.length} pieces came with ${pauses} pauses`);
      });
    }
  }
}

const names = (list) => list.map((m) => m.id ?? m.name).sort();
const catalogue = ['llama3.2:latest', 'nomic-embed-text:latest', 'other:1b', 'qwen3:8b', 'tiny:latest'];
await check('openai models.list', async () => {
  assert.deepEqual(names((await openai.connect(key).models.list()).data), catalogue);
});
await check('openai models.retrieve', async () => {
  assert.equal((await openai.connect(key).models.retrieve(model)).object, 'model');
});
await check('ollama list', async () => {
  assert.deepEqual(names((await ollama.connect(key).list()).models), catalogue);
});
await check('ollama show', async () => {
  assert.ok((await ollama.connect(key).show({ model })).details.family);
});
await check('ollama ps', async () => { // it has just been used
  assert.ok(names((await ollama.connect(key).ps()).models).includes('llama3.2:latest'));
});
await check('ollama version', async () => {
  assert.match((await ollama.connect(key).version()).version, /^\d+\./);
});

// Without this, the three ways to pass a key to Anthropic's clients could
// quietly become one.
for (const [client, header] of [
  [openai, 'authorization'], [anthropic, 'authorization'], [anthropicToken, 'authorization'], [anthropicOld, 'x-api-key'],
]) {
  await check(`${client.name} sends the key in ${header} only`, async () => {
    let sent;
    const spy = client.connect(key).withOptions({ fetch: (to, init) => { sent = new Headers(init.headers); return fetch(to, init); } });
    await client.routes[0].call(spy, { model, prompt: 'Why?', ...whole });
    const used = ['authorization', 'x-api-key'].filter((name) => sent.has(name));
    assert.deepEqual(used, [header]);
  });
}

// ---- refused by the proxy, or by Ollama before its answer began

for (const client of everyone) {
  for (const [what, { key: with_ = key, ...question }, status, message] of [
    ['wrong key', { key: forged }, 401, 'missing or invalid API key'],
    ['body too large', { prompt: tooLong }, 413, 'larger than the 65536 bytes allowed'],
    ['body far too large', { prompt: farTooLong }, 413, 'larger than the 65536 bytes allowed'],
    ['Ollama resets', { model: 'reset' }, 502, 'Ollama broke off its answer'],
    ['Ollama closes', { model: 'close' }, 502, 'Ollama broke off its answer'],
    ["Ollama's own 404", { model: 'nope' }, 404, (route) => route.name.startsWith('embed') ? 'model "nope" not found, try pulling it first' : "model 'nope' not found"],
    ["Ollama's own 500", { model: 'broken' }, 500, 'llama runner process has terminated'],
    ["Ollama's own 503", { model: 'busy' }, 503, 'server busy'],
  ]) {
    for (const route of client.routes) {
      for (const mode of modes(route)) {
        await check(`${client.name} ${inMode(route, mode)}: ${what}`, () =>
          refused(client, () => answer(client, route, { ...question, ...mode }, { key: with_ }), status, message.call ? message(route) : message));
      }
    }
  }
}

const admin = 'needs an OLLAMA-ADMIN- key';
for (const [client, name, status, message, call, with_ = key] of [
  [openai, 'files.list', 404, 'no such route', (c) => c.files.list()],
  [openai, 'images.generate', 404, 'no such route', (c) => c.images.generate({ model, prompt: 'a cat' })],
  [openai, 'moderations.create', 404, 'no such route', (c) => c.moderations.create({ input: 'Hello' })],
  [openai, 'responses.retrieve', 404, 'no such route', (c) => c.responses.retrieve('resp_1')],
  [openai, 'files.list, wrong key', 401, 'missing or invalid API key', (c) => c.files.list(), forged],
  [openai, 'models.list, wrong key', 401, 'missing or invalid API key', (c) => c.models.list(), forged],
  [openai, "models.retrieve, Ollama's own 404", 404, "model 'nope:latest' not found", (c) => c.models.retrieve('nope')],
  [openai, 'models.delete', 405, 'use GET on this route', (c) => c.models.delete(model)],
  [openai, 'chat.completions.list', 405, 'use POST on this route', (c) => c.chat.completions.list()],
  [anthropic, 'messages.countTokens', 404, 'no such route', (c) => c.messages.countTokens({ model, messages: ask({ prompt: 'Why?' }) })],
  [anthropic, 'messages.batches.list', 404, 'no such route', (c) => c.messages.batches.list()],
  [anthropic, 'GET /v1/messages', 405, 'use POST on this route', (c) => c.get('/v1/messages')],
  [anthropicOld, 'messages.countTokens', 404, 'no such route', (c) => c.messages.countTokens({ model, messages: ask({ prompt: 'Why?' }) })],
  [ollama, 'list, no key', 401, 'missing or invalid API key', (c) => c.list(), null],
  [ollama, 'list, wrong key', 401, 'missing or invalid API key', (c) => c.list(), forged],
  [ollama, "show, Ollama's own 404", 404, "model 'nope:latest' not found", (c) => c.show({ model: 'nope' })],
  [ollama, 'pull whole', 403, admin, (c) => c.pull({ model: 'nope' })],
  [ollama, 'pull stream', 403, admin, (c) => c.pull({ model: 'nope', ...streamed })],
  [ollama, 'push', 403, admin, (c) => c.push({ model })],
  [ollama, 'create', 403, admin, (c) => c.create({ model: 'mine', from: model })],
  [ollama, 'copy', 403, admin, (c) => c.copy({ source: model, destination: 'mine' })],
  [ollama, 'delete', 403, admin, (c) => c.delete({ model })],
]) {
  await check(`${client.name} ${name}: ${status}`, () => refused(client, () => call(client.connect(with_)), status, message));
}

// ---- broken off midway

for (const client of everyone) {
  for (const route of client.routes) {
    for (const mode of modes(route)) {
      // Inside a line, or inside a JSON body, there is no room for a message of
      // ours: the client finds out by the broken connection.
      for (const [death, message] of mode.stream
        ? [['dies-between', 'Ollama broke off its answer'], ['dies-mid-line', 'terminated']]
        : [['dies-between', 'terminated']]) {
        await check(`${client.name} ${inMode(route, mode)}: ${death}`, () =>
          broken(() => answer(client, route, { model: death, ...mode }), message));
      }
    }
  }
}

// ---- ended cleanly by Ollama, but without its last word

for (const client of everyone) {
  for (const route of client.routes) {
    if (route.only === whole) continue;
    const itself = 'unexpected EOF', us = 'Ollama ended its answer before it was whole';
    for (const [end, message] of [
      ['repeat', us],
      ['runner-killed', client === ollama ? itself : us],
      // The event response.failed is one among others for openai's client.
      ...(route.path === '/v1/responses' ? [] : [['error-event', itself]]),
    ]) {
      await check(`${client.name} ${inMode(route, streamed)}: ${end}`, async () => {
        const series = ['ollama_proxy_streams_total', `route="${route.path}"`, 'outcome="upstream_error"'];
        const before = await metric(...series);
        await broken(() => answer(client, route, { model: end, ...streamed }), message);
        await counted(before, ...series);
      });
    }
  }
}

// ---- left by the client

for (const client of everyone) {
  for (const route of client.routes) {
    if (route.only === whole) continue;
    for (const [when, question] of [['between tokens', { model }], ['while Ollama hangs', { model: 'hang-mid' }]]) {
      await check(`${client.name} ${inMode(route, streamed)}: abort ${when}`, async () => {
        const series = ['ollama_proxy_streams_total', `route="${route.path}"`, 'outcome="client_gone"'];
        const before = await metric(...series);
        const controller = new AbortController(), seen = {};
        try {
          await answer(client, route, { ...question, ...streamed }, {
            seen, signal: controller.signal,
            after: (stream) => seen.events === 2 && (stream.abort ? stream.abort() : controller.abort()),
          });
        } catch (e) { // some clients throw, others just end
          assert.match(`${e.name} ${e.message}`, /abort/i);
        }
        assert.ok(seen.events >= 2 && seen.events < tokens, `saw ${seen.events} events`);
        await counted(before, ...series);
      });
    }
  }
}

for (const client of everyone.filter((c) => c !== ollama)) { // ollama's can only abort what has begun
  const route = client.routes[0];
  for (const mode of [whole, streamed]) {
    await check(`${client.name} ${inMode(route, mode)}: abort before the answer`, async () => {
      const series = ['ollama_proxy_requests_total', `route="${route.path}"`, 'code="499"'];
      const before = await metric(...series);
      await assert.rejects(answer(client, route, { model: 'hang', ...mode }, { signal: AbortSignal.timeout(300) }), /abort/i);
      await counted(before, ...series);
    });
  }
}

console.log(`\n${count - failures.length} of ${count} checks passed`);
if (failures.length) console.log(`failed:\n  ${failures.join('\n  ')}`);
process.exit(failures.length ? 1 : 0); // without waiting for kept-alive connections
