// node's `ws`, with the header authentication and the compression that the specification shows.
//
//   node ws_client.cjs URL [CREDENTIAL] < {"say": ["..."], "until": "chat_receive"}
//
// Prints one line of JSON: the messages that came, the extensions agreed on, how it ended.
const WebSocket = require('ws');

const [url, credential] = process.argv.slice(2);
const { say, until } = JSON.parse(require('fs').readFileSync(0, 'utf8'));

const headers = credential
  ? { Authorization: `Bearer ${credential}`, 'X-API-Key': credential }
  : {};
const ws = new WebSocket(url, { headers, perMessageDeflate: true });
const seen = { messages: [], extensions: '', code: null, pong: false, status: null };

ws.on('open', () => {
  seen.extensions = ws.extensions;
});
ws.on('message', (data, isBinary) => {
  const message = JSON.parse(data.toString());
  seen.messages.push(message);
  if (message.type === 'connection_established') say.forEach((text) => ws.send(text));
  if (message.type === until) ws.ping('still there?');
});
ws.on('pong', (data) => {
  seen.pong = data.toString() === 'still there?';
  ws.close(1000, 'done');
});
ws.on('unexpected-response', (request, response) => {
  seen.status = response.statusCode;
  request.destroy();
  finish();
});
ws.on('error', () => {});
ws.on('close', (code) => {
  seen.code = code;
  finish();
});

function finish() {
  console.log(JSON.stringify(seen));
}
