// Express and amqplib: a signed webhook is checked, validated, and published confirmed.
const crypto = require("node:crypto");
const amqp = require("amqplib");
const express = require("express");
const { z } = require("zod");

const Webhook = z.object({
  id: z.string(),
  event: z.string(),
  data: z.object({
    campaignId: z.uuid(),
    date: z.string(),
    impressions: z.int().min(0),
    clicks: z.int().min(0),
    conversions: z.int().min(0),
    spend: z.number().min(0),
  }),
});
const { BENCH_SECRET, BENCH_EXCHANGE, BENCH_KEY, RABBITMQ_URL, PORT } = process.env;

function isGenuine(body, signature) {
  const expected = crypto.createHmac("sha256", BENCH_SECRET).update(body).digest();
  const given = Buffer.from(signature || "", "hex");
  return given.length === expected.length && crypto.timingSafeEqual(given, expected);
}

function eventOf({ id, data: { campaignId, ...figures } }) {
  return JSON.stringify({
    specversion: "1.0",
    id,
    source: "urn:adrelay:webhook:claude",
    type: "campaign.metrics_reported.v1",
    time: new Date().toISOString(),
    data: { platform: "claude", campaign_id: campaignId, ...figures },
  });
}

async function main() {
  const connection = await amqp.connect(RABBITMQ_URL);
  const channel = await connection.createConfirmChannel();
  const app = express();
  app.post("/webhooks/claude", express.raw({ type: () => true }), (request, response) => {
    if (!isGenuine(request.body, request.get("X-Claude-Signature"))) {
      return response.status(401).json({ error: "signature" });
    }
    const event = Buffer.from(eventOf(Webhook.parse(JSON.parse(request.body))));
    const options = { persistent: true, mandatory: true, contentType: "application/json" };
    channel.publish(BENCH_EXCHANGE, BENCH_KEY, event, options, (error) =>
      response.status(error ? 503 : 200).json({ received: !error }),
    );
  });
  app.get("/readyz", (_, response) => response.end());
  app.listen(Number(PORT), "127.0.0.1");
}
main();
