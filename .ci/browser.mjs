// Opens web pages that chat through the proxy, in a real browser and with the
// clients that people use there: from an origin that is allowed, and from others.
// It is run by .ci/browser. The names of the models choose how the stand-in for
// Ollama behaves: see handler/standin/doc.go.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

import { checker, watch } from './checks.mjs';

const [dir, executablePath] = process.argv.slice(2);
assert.ok(executablePath, 'run .ci/browser instead');

const pace = 40; // ms between two tokens of the stand-in's
const tokens = 25; // that we ask for: enough to tell a stream from a burst
const patience = 20_000; // ms, for a check

// inPage runs in every page before anything else. ask has a way to stream a chat
// for each client; all give one piece of text for each event.
function inPage() {
  const messages = [{ role: 'user', content: 'Why is the sky blue?' }];
  const openai = ({ url, key }) => new OpenAI({
    baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, dangerouslyAllowBrowser: true,
    organization: 'org-1', project: 'proj_1', defaultHeaders: { 'X-Of-Our-Own': 'yes' },
  });
  const ollama = ({ url, key }) => new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
  const anthropic = (Client) => async function* ({ url, key, model, max_tokens, signal }) {
    const client = new Client({ baseURL: url, apiKey: key, maxRetries: 0, dangerouslyAllowBrowser: true });
    for await (const event of await client.messages.create({ model, messages, max_tokens, stream: true }, { signal })) {
      yield event.type === 'content_block_delta' ? event.delta.text : '';
    }
  };
  const ask = {
    async *fetch({ url, key, model, max_tokens, signal, ...rest }) {
      const answer = await fetch(`${url}/v1/chat/completions`, {
        method: 'POST', signal, ...rest,
        headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ model, messages, max_tokens, stream: true }),
      });
      if (!answer.ok) {
        throw Object.assign(new Error((await answer.json()).error.message), {
          status: answer.status, requestID: answer.headers.get('X-Request-Id'), retryAfter: answer.headers.get('Retry-After'),
        });
      }
      let part = '';
      for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
        const events = (part + text).split('\n\n');
        part = events.pop();
        for (const event of events) {
          if (event !== 'data: [DONE]') yield JSON.parse(event.slice('data: '.length)).choices[0]?.delta.content ?? '';
        }
      }
    },
    async *openai({ model, max_tokens, signal, ...to }) {
      const chat = { model, messages, max_tokens, stream: true };
      for await (const event of await openai(to).chat.completions.create(chat, { signal })) yield event.choices[0]?.delta.content ?? '';
    },
    async *responses({ model, max_tokens, signal, ...to }) {
      const chat = { model, input: messages, max_output_tokens: max_tokens, stream: true };
      for await (const event of await openai(to).responses.create(chat, { signal })) {
        yield event.type === 'response.output_text.delta' ? event.delta : '';
      }
    },
    async *ollama({ model, max_tokens, signal, ...to }) {
      const client = ollama(to);
      signal.addEventListener('abort', () => client.abort());
      const chat = { model, messages, options: { num_predict: max_tokens }, stream: true };
      for await (const line of await client.chat(chat)) yield line.message.content;
    },
    anthropic: (q) => anthropic(Anthropic)(q),
    anthropic0: (q) => anthropic(Anthropic0)(q),
  };
  const told = (e) => ({
    name: e.constructor.name, message: e.message, status: e.status ?? e.status_code, requestID: e.requestID,
    retryAfter: e.retryAfter ?? e.headers?.get?.('Retry-After'),
  });

  // stream asks and tells what came, and how it ended; after so many events it
  // leaves.
  globalThis.stream = async (client, { leaveAfter, ...question }) => {
    const controller = new AbortController(), seen = { events: 0, text: '', times: [] };
    globalThis.seen = seen;
    try {
      for await (const piece of ask[client]({ ...question, signal: controller.signal })) {
        if (piece) {
          seen.text += piece;
          seen.times.push(performance.now());
        }
        if (++seen.events === leaveAfter) controller.abort();
      }
    } catch (e) {
      seen.error = told(e);
    }
    return seen;
  };

  // call tells what another call of a client's returned, or how it failed.
  globalThis.call = async (path, to, ...args) => {
    const [library, ...names] = path.split('.');
    let it = { openai, ollama }[library](to);
    const last = names.pop();
    for (const name of names) it = it[name];
    try {
      return { value: JSON.parse(JSON.stringify(await it[last](...args))) };
    } catch (e) {
      return { error: told(e) };
    }
  };

  // plain is for requests that need no permission before they are sent.
  globalThis.plain = (url, options) => fetch(url, options).then((r) => `status ${r.status}`, (e) => e.name);
  globalThis.socket = (url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve('open');
    socket.onerror = () => resolve('refused');
  });
}
const clients = ['fetch', 'openai', 'responses', 'ollama', 'anthropic', 'anthropic0'];

// ---- pages, proxies, the browser

const files = { '/': '<!doctype html><title>chat</title><script src="clients.js"></script>', '/clients.js': await readFile('clients.js') };
async function origin() {
  const server = createServer((request, response) => {
    const type = request.url === '/' ? 'text/html' : 'text/javascript';
    response.writeHead(request.url in files ? 200 : 404, { 'Content-Type': type }).end(files[request.url]);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return `http://localhost:${server.address().port}`;
}

function run(input, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(`${dir}/ollama-proxy`, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (data) => { out += data; });
    child.on('close', (code) => (code ? reject(new Error(`${args[0]} failed`)) : resolve(out.trim())));
    child.stdin.end(input);
  });
}

async function serve(...flags) {
  const child = spawn(`${dir}/ollama-proxy`, ['serve', '--demo', '--listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.pipe(createWriteStream(`${dir}/proxy-${child.pid}.log`));
  let key;
  createInterface(child.stdout).on('line', (line) => { key ??= line.match(/^ +(OLLAMA-\S+)$/)?.[1]; });
  for await (const line of createInterface(child.stderr)) {
    const [, address, metrics] = line.match(/msg=serving address=(\S+) metrics=(\S+)/) ?? [];
    if (address) {
      child.stderr.resume();
      return { url: `http://${address}`, metrics: `http://${metrics}/metrics`, key };
    }
  }
  throw new Error('the proxy did not start');
}

// connect is a local Ollama without keys that forwards to the proxy.
async function connect({ url, metrics, key }) {
  const child = spawn(`${dir}/ollama-proxy`, ['connect', '--listen', '127.0.0.1:0', url], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, OLLAMA_PROXY_KEY: key } });
  child.stderr.pipe(createWriteStream(`${dir}/connect-${child.pid}.log`));
  for await (const line of createInterface(child.stderr)) {
    const port = line.match(/msg=serving address=\S+:(\d+)/)?.[1];
    if (port) {
      child.stderr.resume();
      return { url: `http://localhost:${port}`, metrics, key: 'ollama' };
    }
  }
  throw new Error('connect did not start');
}

const allowed = await origin(), other = await origin();
const proxy = await serve('--allow-origin', allowed);
const everyone = await serve('--allow-origin', '*');
const nobody = await serve();
const local = await connect(nobody);
const forged = proxy.key.replace(/\.(.)/, (_, first) => (first === 'A' ? '.B' : '.A'));
const once = await run(proxy.key, 'restrict', '--rpm', '1', '-');

const browser = await chromium.launch({
  executablePath,
  // evil.example is a name that its owner has made to lead here.
  args: ['--host-resolver-rules=MAP evil.example 127.0.0.1', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext();
await context.addInitScript(inPage);

// open opens a page and keeps what the browser says about it.
async function open(url) {
  const page = watch(await context.newPage());
  await page.goto(url);
  return page;
}

const question = { url: proxy.url, key: proxy.key, model: 'llama3.2', max_tokens: tokens };
const stream = (page, client, more) => page.evaluate(([c, q]) => globalThis.stream(c, q), [client, { ...question, ...more }]);
const call = (page, path, to, ...args) => page.evaluate((all) => globalThis.call(...all), [path, { ...question, ...to }, ...args]);

// metric adds up all series of the name with these labels.
async function metric({ metrics }, name, ...labels) {
  const text = await (await fetch(metrics)).text();
  return text.split('\n')
    .filter((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

async function counted(before, ...series) {
  for (let i = 0; i < 100 && (await metric(...series)) <= before; i++) await new Promise((r) => setTimeout(r, 50));
  assert.equal(await metric(...series), before + 1, `${series.slice(1).join(' ')} did not grow by one`);
}

const { check, finish } = checker(patience, (message) => message.replaceAll(proxy.key, '(the key)'));

// ---- the page that is allowed

const page = await open(allowed);
const texts = new Set();
for (const client of clients) {
  await check(`${client} streams a chat`, async () => {
    const seen = await stream(page, client);
    assert.equal(seen.error, undefined, `${seen.error?.message}: ${page.said.at(-1)}`);
    texts.add(seen.text);
    assert.equal(texts.size, 1, `not what the others got: ${seen.text}`);
    assert.ok(seen.text.split(' ').length >= tokens, seen.text);
    // Held back and sent in bursts, they would have few pauses between them. A
    // busy machine may lose some, but not three in four.
    const pauses = seen.times.filter((t, i) => i > 0 && t - seen.times[i - 1] > pace / 4).length;
    assert.ok(pauses >= tokens / 4, `${seen.times.length} pieces came with ${pauses} pauses`);
  });

  // It never ends by itself: what is there has come before the end.
  await check(`${client} leaves, and Ollama is let go`, async () => {
    const series = [proxy, 'ollama_proxy_streams_total', 'outcome="client_gone"'];
    const before = await metric(...series);
    const seen = await stream(page, client, { model: 'hang-mid', leaveAfter: 2 });
    assert.equal(seen.events, 2);
    assert.match(`${seen.error?.name ?? 'abort'} ${seen.error?.message}`, /abort/i);
    await counted(before, ...series);
  });

  for (const [what, more, status, message, ours] of [
    ['a wrong key', { key: forged }, 401, 'missing or invalid API key', true],
    ["Ollama's own 404", { model: 'nope' }, 404, "model 'nope' not found", false],
    ["Ollama's own 503", { model: 'busy' }, 503, 'server busy', false],
    ['Ollama resets', { model: 'reset' }, 502, 'Ollama broke off its answer', true],
  ]) {
    await check(`${client} says why: ${what}`, async () => {
      const { error } = await stream(page, client, more);
      assert.equal(error?.status, status, `${error?.message}: ${page.said.at(-1)}`);
      assert.ok(error.message.includes(message), error.message);
      if (ours && (client === 'fetch' || client === 'openai')) assert.match(error.requestID ?? '', /^[0-9a-f]{24}$/);
    });
  }

  await check(`${client} sees a stream break off`, async () => {
    const { text, error } = await stream(page, client, { model: 'dies-mid-line' });
    assert.ok(error, `ended as if it were whole: ${text}`);
  });
}

await check('a page sees when to come back', async () => {
  assert.equal((await stream(page, 'fetch', { key: once, max_tokens: 1 })).error, undefined);
  for (const client of ['fetch', 'openai']) {
    const { error } = await stream(page, client, { key: once });
    assert.equal(error.status, 429);
    assert.match(error.retryAfter ?? '', /^[1-9][0-9]?$/);
  }
});

for (const [path, test, ...args] of [
  ['openai.models.list', (v) => v.data.length === 5],
  ['openai.models.retrieve', (v) => v.id.startsWith('llama3.2'), 'llama3.2'],
  ['openai.embeddings.create', (v) => v.data[0].embedding.length > 0, { model: 'nomic-embed-text', input: 'sky' }],
  ['ollama.list', (v) => v.models.length === 5],
  ['ollama.ps', (v) => v.models.length > 0],
  ['ollama.show', (v) => v.details.family, { model: 'llama3.2' }],
  ['ollama.embed', (v) => v.embeddings[0].length > 0, { model: 'nomic-embed-text', input: 'sky' }],
]) {
  await check(path, async () => {
    const { value, error } = await call(page, path, {}, ...args);
    assert.ok(value && test(value), `${error?.message ?? JSON.stringify(value)}: ${page.said.at(-1)}`);
  });
}
await check('ollama.delete gets as far as the proxy', async () => { // the method needs permission, too
  const { error } = await call(page, 'ollama.delete', {}, { model: 'llama3.2' });
  assert.equal(error?.status, 403, error?.message);
});

await check('a tab is closed, and Ollama is let go', async () => {
  const series = [proxy, 'ollama_proxy_streams_total', 'outcome="client_gone"'];
  const before = await metric(...series);
  const tab = await open(allowed);
  stream(tab, 'fetch', { model: 'hang-mid' }).catch(() => {}); // it never returns
  await tab.waitForFunction(() => globalThis.seen?.events === 2);
  await tab.close();
  await counted(before, ...series);
});

// ---- pages that are not

// blocked checks that a page gets nothing out of the proxy, by no client, and
// that it did not even ask. (Preflights have a method of their own, and are
// answered with 401 where no origin is allowed.)
async function blocked(to, frame, said, reason, more = {}) {
  const passed = () => metric(to, 'ollama_proxy_requests_total', 'method="POST"');
  const before = await passed();
  for (const client of frame.clients ?? clients) {
    const { text, error } = await stream(frame, client, { url: to.url, key: to.key, ...more });
    assert.equal(text, '', `${client} got an answer`);
    assert.ok(error && !error.status, `${client}: ${error?.status} ${error?.message}`);
  }
  assert.equal(await passed(), before, 'requests came through');
  for (let i = 0; i < 100 && !reason.test(said); i++) await new Promise((r) => setTimeout(r, 50)); // it comes by another way
  assert.match(String(said), reason);
}
const noPermission = /blocked by CORS policy: Response to preflight request doesn't pass access control check/;

await check('another origin', async () => {
  const evil = await open(other);
  await blocked(proxy, evil, evil.said, noPermission);
});
await check('no origin is allowed', async () => {
  const it = await open(allowed);
  await blocked(nobody, it, it.said, noPermission);
});
// ---- connect, which pages of this machine may use

for (const [name, from] of [['localhost', allowed], ['another site that is this machine', allowed.replace('localhost', '127.0.0.1')]]) {
  await check(`connect, from ${name}`, async () => {
    const it = await open(from);
    for (const client of clients) {
      const { text, error } = await stream(it, client, local);
      assert.ok(texts.has(text), `${client}: ${error?.message ?? text}: ${it.said.at(-1)}`);
    }
    const { error } = await call(it, 'ollama.delete', local, { model: 'llama3.2' });
    assert.equal(error?.status, 403, error?.message);
  });
}
await check('connect, from a foreign site', async () => {
  const evil = await open(allowed.replace('localhost', 'evil.example'));
  await blocked(local, evil, evil.said, noPermission);
  await blocked({ ...local, url: local.url.replace('localhost', 'evil.example') }, evil, evil.said, noPermission);
});

await check('a file', async () => {
  await writeFile('page.html', files['/']);
  const file = await open(`file://${process.cwd()}/page.html`);
  await blocked(proxy, file, file.said, noPermission);
});
await check('a sandboxed frame in an allowed page', async () => {
  const outer = await open(allowed);
  await outer.setContent(`<iframe sandbox="allow-scripts" srcdoc='<script src="${allowed}/clients.js"></script>'></iframe>`);
  const inner = await (await outer.waitForSelector('iframe')).contentFrame();
  await inner.waitForFunction(() => globalThis.Anthropic0);
  assert.equal(await inner.evaluate(() => globalThis.origin), 'null');
  await blocked(proxy, inner, outer.said, noPermission);
});

// Requests that need no permission reach the proxy, but have no key.
await check('another origin, without asking', async () => {
  const evil = await open(other), code = 'code="401"';
  for (const [path, options] of [
    ['/api/tags', {}], ['/api/chat', { method: 'POST', body: '{"model": "llama3.2"}' }], ['/api/tags', { credentials: 'include' }],
  ]) {
    const before = await metric(proxy, 'ollama_proxy_requests_total', code), all = await metric(proxy, 'ollama_proxy_requests_total');
    assert.equal(await evil.evaluate((a) => globalThis.plain(...a), [proxy.url + path, options]), 'TypeError', path);
    await counted(before, proxy, 'ollama_proxy_requests_total', code);
    assert.equal(await metric(proxy, 'ollama_proxy_requests_total'), all + 1);
  }
});
for (const from of [allowed, other]) {
  await check(`a WebSocket from ${from === allowed ? 'an allowed' : 'another'} origin`, async () => {
    const it = await open(from);
    assert.equal(await it.evaluate((u) => globalThis.socket(u), `${proxy.url.replace('http', 'ws')}/api/chat`), 'refused');
  });
}

// ---- cookies

for (const [name, to, from] of [['an allowed origin', proxy, allowed], ['any origin', everyone, other]]) {
  await check(`${name}, with cookies`, async () => {
    const it = await open(from);
    it.clients = ['fetch'];
    await blocked(to, it, it.said, /Access-Control-Allow-(Credentials|Origin)/, { credentials: 'include' });
    assert.equal(await it.evaluate((a) => globalThis.plain(...a), [`${to.url}/api/tags`, { credentials: 'include' }]), 'TypeError');
  });
}
await check('any origin, without cookies', async () => {
  const it = await open(other);
  for (const client of clients) {
    const { text, error } = await stream(it, client, { url: everyone.url, key: everyone.key });
    assert.ok(texts.has(text), `${client}: ${error?.message}`);
  }
});

await browser.close();
finish();
