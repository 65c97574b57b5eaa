// Verifies the tag of a key as ollama-proxy does. What its caveats say is not
// looked at.
import crypto from 'crypto';

const secret = '{{.Secret}}';

function genuine(r) {
    const header = r.headersIn.Authorization;
    if (!header || !header.startsWith('Bearer OLLAMA-')) {
        return '0';
    }
    const dot = header.indexOf('.');
    if (dot < 0) {
        return '0';
    }
    const parts = header.substring(7, dot).split('~');
    const last = parts.pop();
    let key = secret;
    for (let i = 0; i < parts.length; i++) {
        key = crypto.createHmac('sha256', key).update(parts[i]).digest();
    }
    const want = crypto.createHmac('sha256', key).update(last).digest('base64url');
    return same(header.substring(dot + 1), want) ? '1' : '0';
}

// same compares in a time that does not tell where the difference is, four
// bytes at once.
function same(a, b) {
    if (a.length !== b.length) {
        return false;
    }
    a = Buffer.from(a);
    b = Buffer.from(b);
    const last = a.length - 4;
    let differs = a.readInt32LE(last) ^ b.readInt32LE(last);
    for (let i = 0; i < last; i += 4) {
        differs |= a.readInt32LE(i) ^ b.readInt32LE(i);
    }
    return differs === 0;
}

export default { genuine };
