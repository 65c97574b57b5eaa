// Looks at the status page as people do, in a real browser. It is run by .ci/page.
// The names of the models choose how the stand-in for Ollama behaves: see
// handler/standin/doc.go.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

import { checker, watch } from './checks.mjs';

const [dir, executablePath] = process.argv.slice(2);
assert.ok(executablePath, 'run .ci/page instead');

const patience = 20_000; // ms, for a check

// serve starts the demo; metrics is where its private listener is to be.
async function serve(metrics, ...flags) {
  const child = spawn(`${dir}/ollama-proxy`, ['serve', '--demo', '--listen', '127.0.0.1:0', '--metrics-listen', metrics, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.pipe(createWriteStream(`${dir}/proxy-${child.pid}.log`));
  let key;
  createInterface(child.stdout).on('line', (line) => { key ??= line.match(/^ +(OLLAMA-\S+)$/)?.[1]; });
  for await (const line of createInterface(child.stderr)) {
    const [, address, at] = line.match(/msg=serving address=(\S+) metrics=(\S+)/) ?? [];
    if (address) {
      child.stderr.resume();
      return { child, url: `http://${address}`, metrics: at, key };
    }
  }
  throw new Error('the proxy did not start');
}
function restrict(key, ...flags) {
  return new Promise((resolve, reject) => {
    const child = spawn(`${dir}/ollama-proxy`, ['restrict', ...flags, '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (data) => { out += data; });
    child.on('close', (code) => (code ? reject(new Error('restrict failed')) : resolve(out.trim())));
    child.stdin.end(key);
  });
}

// ask chats; what is returned leaves when it is called.
function ask(key, model, path = '/api/chat') {
  const controller = new AbortController();
  const over = fetch(proxy.url + path, {
    method: 'POST', signal: controller.signal, headers: { Authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'PROMPT' }] }),
  }).then((answer) => answer.text()).catch(() => '');
  return { leave: () => { controller.abort(); return over; }, over };
}

let proxy = await serve('127.0.0.1:0', '--metrics-per-key', '--log-level', 'info');
const site = `http://${proxy.metrics}/`;
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP evil.example 127.0.0.1'],
});

// open opens the page and keeps what it asks for and what the browser says of it.
async function open(options = {}, url = site) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = watch(await context.newPage());
  page.said = [];
  page.asked = [];
  page.on('console', (message) => page.said.push(message.text()));
  page.on('pageerror', (e) => page.said.push(String(e)));
  page.on('request', (request) => page.asked.push(request.url()));
  await page.goto(url);
  return page;
}
const text = (page, selector) => page.locator(selector).innerText();
const becomes = (page, selector, pattern) => page.waitForFunction(
  ([s, p]) => new RegExp(p).test(document.querySelector(s)?.innerText ?? ''), [selector, pattern], { timeout: patience });

const { check, finish } = checker(2 * patience, (message) => message.replaceAll(proxy.key, '(the key)'));

const page = await open();
await check('it opens, is live, and asks nobody else', async () => {
  await becomes(page, '#state', '^live$');
  assert.equal(await text(page, '#requests'), '0');
  assert.deepEqual(page.asked.filter((url) => !url.startsWith(site) && !url.startsWith('data:')), []);
});

await check('numbers move under load', async () => {
  const alice = await restrict(proxy.key, '--label', 'alice');
  const before = Number(await text(page, '#ended'));
  const hanging = ask(alice, 'hang-mid');
  await becomes(page, '#requests', '^1$');
  await becomes(page, '#running tbody', '^alice\\s+[0-9a-f-]{36} of [0-9a-f-]{36}\\s+hang-mid:latest\\s+/api/chat\\s+streaming');
  const row = await page.locator('#running tbody tr').first().innerText();
  const age = (r) => Number(r.match(/([\d.]+)\sm?s\t/)[1]);
  await page.waitForFunction((r) => document.querySelector('#running tbody tr').innerText !== r, row);
  assert.ok(age(row) >= 0);
  await hanging.leave();
  await becomes(page, '#requests', '^0$');
  await becomes(page, '#running tbody', '^Nothing is running');
  await Promise.all([1, 2, 3].map(() => ask(alice, 'llama3.2').over));
  await becomes(page, '#ended', `^${before + 4}$`);
  await becomes(page, '#left', '^1 client left early$');
  await becomes(page, '#models tbody', 'llama3\\.2:latest\\s+\\d+\\s+\\d+');
  await becomes(page, '#keys tbody', 'alice\\s+[0-9a-f-]{36} of [0-9a-f-]{36}\\s+0\\s+4\\s+\\d+');
  await becomes(page, '#p50', 's$');
  await becomes(page, '#upstreams', 'up · 5 models');
});

await check('refusals show, and why', async () => {
  await ask('OLLAMA-nonsense', 'llama3.2').over;
  await becomes(page, '#refused', '^1$');
  await becomes(page, '#reason', '^malformed 1$');
});

await check('markup in a label stays text', async () => {
  const label = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1"><b>bob';
  const evil = await restrict(proxy.key, '--label', label);
  const hanging = ask(evil, 'hang-mid');
  await becomes(page, '#running tbody', '<script>window');
  assert.equal(await page.locator('#running tbody bdi').first().innerText(), label);
  await hanging.leave();
  await becomes(page, '#keys tbody', '<script>window');
  assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
  assert.equal(await page.locator('main img, main script, main b:not(figcaption b)').count(), 0);
});

await check('keys of one label are told apart by their ids', async () => {
  await Promise.all([proxy.key, await restrict(proxy.key, '--label', 'dora')].map((key) => ask(key, 'llama3.2').over));
  const id = proxy.key.slice('OLLAMA-'.length, 'OLLAMA-'.length + 36);
  await becomes(page, '#keys tbody', `–\\s+${id}\\s`);
  await becomes(page, '#keys tbody', `dora\\s+[0-9a-f-]{36} of ${id}\\s`);
});

await check('neither key, prompt nor answer is on it', async () => {
  const all = await page.content() + await (await fetch(`${site}status`)).text();
  for (const secret of [proxy.key, proxy.key.split('.')[1], 'OLLAMA-', 'PROMPT', 'not really']) assert.ok(!all.includes(secret), 'it is there');
});

await check('a click sorts, another one turns it round', async () => {
  const keys = () => page.locator('#keys tbody th').allInnerTexts();
  const header = page.locator('#keys thead th', { hasText: 'Key' });
  await header.locator('button').click();
  assert.equal(await header.getAttribute('aria-sort'), 'ascending');
  const up = await keys();
  assert.deepEqual(up, [...up].sort());
  await header.locator('button').click();
  assert.equal(await header.getAttribute('aria-sort'), 'descending');
  assert.deepEqual(await keys(), up.reverse());
  assert.equal(await page.locator('#keys thead [aria-sort]').count(), 1);
});

await check('it can be held still', async () => {
  await page.locator('#pause').click();
  await becomes(page, '#state', '^paused$');
  assert.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true');
  const before = await text(page, '#ended');
  await ask(proxy.key, 'llama3.2').over; // takes longer than two events
  assert.equal(await text(page, '#ended'), before);
  await page.locator('#pause').click();
  assert.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'false');
  await page.waitForFunction((n) => Number(document.querySelector('#ended').innerText) > n, Number(before));
  await becomes(page, '#state', '^live$');
});

await check('keys alone do', async () => {
  const it = await open();
  await becomes(it, '#state', '^live$');
  const stops = [];
  for (let i = 0; i < 40; i++) {
    await it.keyboard.press('Tab');
    const at = await it.evaluate(() => {
      const e = document.activeElement;
      return e === document.body ? '' : { name: e.ariaLabel || e.innerText, outline: getComputedStyle(e).outlineStyle };
    });
    if (!at) break;
    assert.equal(at.outline, 'solid', `${at.name} does not show that it has the focus`);
    stops.push(at.name);
    if (at.name === 'Requests/min') {
      const said = () => it.evaluate(() => document.activeElement.ariaValueText);
      assert.match(await said(), /^now: \d+, \d+ failed$/);
      await it.keyboard.press('ArrowLeft');
      assert.match(await said(), /^1 min ago: /);
      await it.keyboard.press('Home');
      assert.match(await said(), /^59 min ago: not started yet$/);
      await it.keyboard.press('End');
      assert.match(await said(), /^now: /);
    }
    if (at.name === 'Bytes' && stops.filter((s) => s === 'Bytes').length === 1) {
      await it.keyboard.press('Enter');
      assert.equal(await it.evaluate(() => document.activeElement.parentNode.ariaSort), 'descending');
    }
  }
  for (const name of ['Pause', 'Requests/min', 'Refused/min', 'First byte', 'Bytes/min', 'Key', 'Model']) assert.ok(stops.includes(name), `${name} cannot be reached`);
  await it.context().close();
});

for (const [name, width] of [['a phone', 360], ['a tablet', 800], ['a screen', 1440]]) {
  for (const colorScheme of ['light', 'dark']) {
    await check(`it fits on ${name}, ${colorScheme}`, async () => {
      const evil = await restrict(proxy.key, '--label', 'W'.repeat(100));
      const hanging = ask(evil, 'hang-mid', '/v1/chat/completions');
      const it = await open({ viewport: { width, height: 800 }, colorScheme });
      await becomes(it, '#running tbody', 'WWW');
      const { over, dark } = await it.evaluate(() => {
        const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return { over: document.documentElement.scrollWidth - innerWidth, dark: r + g + b < 200 };
      });
      assert.ok(over <= 0, `${over} pixels too wide`);
      assert.equal(dark, colorScheme === 'dark');
      await hanging.leave();
      assert.deepEqual(it.said, []);
      await it.context().close();
    });
  }
}

const axe = await readFile('node_modules/axe-core/axe.min.js', 'utf8');
for (const colorScheme of ['light', 'dark']) {
  await check(`nobody is shut out, ${colorScheme}`, async () => {
    const hanging = ask(proxy.key, 'hang-mid');
    const it = await open({ colorScheme, bypassCSP: true }); // which keeps out axe, too
    await becomes(it, '#running tbody', 'hang-mid');
    await it.evaluate(axe);
    const { violations, passes } = await it.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes[0].html}`), []);
    assert.ok(passes.length > 20, 'there was nothing to check');
    await hanging.leave();
    await it.context().close();
  });
}

await check('a page that is hidden does not look', async () => {
  const it = await open();
  await becomes(it, '#state', '^live$');
  const hide = (hidden) => it.evaluate((h) => {
    Object.defineProperty(document, 'hidden', { value: h, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  const seen = await it.evaluate(() => source.readyState);
  assert.equal(seen, 2);
  await hide(false);
  await it.waitForFunction(() => source.readyState === 1);
  await becomes(it, '#state', '^live$');
  await it.context().close();
});

await check('pages of others see nothing', async () => {
  const server = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>evil</title>'));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const it = await open({}, `http://localhost:${server.address().port}/`);
  for (const path of ['', 'status', 'events', 'metrics']) {
    assert.equal(await it.evaluate((u) => fetch(u).then((r) => r.text(), (e) => e.name), site + path), 'TypeError');
  }
  assert.equal(await it.evaluate((u) => new Promise((resolve) => {
    const events = new EventSource(u);
    events.onmessage = () => resolve('read');
    events.onerror = () => resolve('refused');
  }), `${site}events`), 'refused');
  await it.evaluate((u) => { document.body.append(Object.assign(document.createElement('iframe'), { src: u })); }, site);
  await it.waitForFunction(() => frames.length === 1);
  assert.ok(!(await it.frames()[1]?.content().catch(() => ''))?.includes('ollama-proxy</h1>'), 'it shows in a frame');
  await it.context().close();
  server.close();

  const rebound = await open({}, `http://evil.example:${proxy.metrics.split(':')[1]}/`);
  assert.match(await text(rebound, 'body'), /^ask by address/);
  for (const path of ['/status', '/metrics']) {
    assert.match(await rebound.evaluate((p) => fetch(p).then((r) => r.text()), path), /^ask by address/);
  }
  await rebound.context().close();
});

await check('nothing went wrong unseen', async () => assert.deepEqual(page.said, []));

await check('it notices that the proxy is gone, and that it is back', async () => {
  const gone = new Promise((resolve) => { proxy.child.on('exit', resolve); });
  proxy.child.kill('SIGKILL');
  await gone;
  await becomes(page, '#state', '^no answer for ');
  assert.match(await page.title(), /^✕ gone/);
  proxy = await serve(proxy.metrics, '--log-level', 'info');
  await becomes(page, '#state', '^live$');
  await becomes(page, '#ended', '^0$');
  await becomes(page, '#keys-title', 'running now');
  await becomes(page, '#keys-note', '--metrics-per-key');
  const hanging = ask(await restrict(proxy.key, '--label', 'carol'), 'hang-mid');
  await becomes(page, '#keys tbody', '^carol\\s+[0-9a-f-]{36} of [0-9a-f-]{36}\\s+1\\s+\\d+\\sB$');
  const phone = await open({ viewport: { width: 360, height: 800 } });
  await becomes(phone, '#keys tbody', '^carol\\s+[0-9a-f-]{36} of [0-9a-f-]{36}\\s+1\\s+\\d+\\sB$');
  await phone.context().close();
  proxy.child.kill('SIGTERM');
  await becomes(page, '#state', '^draining$');
  await hanging.leave();
  await becomes(page, '#state', '^no answer for ');
});

await browser.close();
proxy.child.kill('SIGKILL');
finish();
