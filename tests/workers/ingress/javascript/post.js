// Posts events that the CloudEvents SDK writes; prints the status and answer of each as JSON.
const { CloudEvent, HTTP, Mode, emitterFor } = require("cloudevents");

const { API_KEY, ATTRIBUTES, BATCH_TYPE, SINK } = process.env;

async function post(message) {
  const headers = { ...message.headers, "X-API-Key": API_KEY };
  const response = await fetch(SINK, { method: "POST", headers, body: message.body });
  return { status: response.status, body: await response.json() };
}

function event(id, more = {}) {
  return new CloudEvent({ ...JSON.parse(ATTRIBUTES), id, ...more });
}

async function main() {
  const answers = {};
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    const emit = emitterFor(post, { binding: HTTP, mode });
    answers[mode] = await emit(event(`js "${mode}" 100%`));
  }
  const packed = event("js packed");
  const data = Buffer.from(JSON.stringify(packed.data));
  answers.packed = await post(HTTP.structured(packed.cloneWith({ data })));
  const events = [event("js batch \u20ac"), event("js batch 2")];
  const headers = { "content-type": BATCH_TYPE };
  answers.batch = await post({ headers, body: JSON.stringify(events) });
  answers.wrong = await post(HTTP.binary(event("js wrong", { data: { clicks: -1 } })));
  console.log(JSON.stringify(answers));
}

main();
