// Verifies a key as ollama-proxy does, as far as it has no caveats.
import crypto from 'crypto';

const secret = '{{.Secret}}';
const revoked = { {{range .Revoked}}
    '{{.}}': true,{{end}}
};

function good(r) {
    const header = r.headersIn.Authorization;
    if (!header || !header.startsWith('Bearer OLLAMA-')) {
        return '0';
    }
    const dot = header.indexOf('.');
    const head = header.substring(7, dot);
    const tag = header.substring(dot + 1);
    const want = crypto.createHmac('sha256', secret).update(head).digest('base64url');
    if (dot < 0 || !same(tag, want) || revoked[head.slice(-36)]) {
        return '0';
    }
    return '1';
}

// same compares in a time that does not tell where the difference is.
function same(a, b) {
    if (a.length !== b.length) {
        return false;
    }
    let differs = 0;
    for (let i = 0; i < a.length; i++) {
        differs |= a.charCodeAt(i) ^ b.charCodeAt(i);
    }
    return differs === 0;
}

export default { good };
