// What the checks in a browser have in common: each runs under a time limit, and a
// failure does not keep the others from running.

// watch collects in page.said what the browser reports of a page.
export function watch(page) {
  page.said = [];
  page.on('console', (message) => page.said.push(message.text()));
  page.on('pageerror', (e) => page.said.push(String(e)));
  return page;
}

// checker returns check, which runs a test within so many milliseconds, and finish,
// which prints the result and ends the process. hide removes what must not be printed.
export function checker(limit, hide) {
  const failures = [];
  let count = 0;
  async function check(name, test) {
    count++;
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(reject, limit, new Error('took too long')); });
    try {
      await Promise.race([test(), late]);
      console.log(`ok ${name}`);
    } catch (e) {
      failures.push(name);
      console.log(`FAILED ${name}: ${e.name}: ${hide(e.message)}`);
    }
    clearTimeout(timer);
  }
  function finish() {
    console.log(`\n${count - failures.length} of ${count} checks passed`);
    if (failures.length) console.log(`failed:\n  ${failures.join('\n  ')}`);
    process.exit(failures.length ? 1 : 0);
  }
  return { check, finish };
}
