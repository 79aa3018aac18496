// amqplib and pg: one transaction an event; BENCH_PREFETCH at once.
const amqp = require("amqplib");
const { Pool } = require("pg");
const { z } = require("zod");

const Report = z.object({
  specversion: z.literal("1.0"),
  id: z.string(),
  source: z.string(),
  type: z.string(),
  time: z.string(),
  data: z.object({
    campaign_id: z.uuid(),
    platform: z.enum(["claude", "chatgpt", "gemini"]),
    date: z.string(),
    impressions: z.int().min(0),
    clicks: z.int().min(0),
    conversions: z.int().min(0),
    spend: z.number().min(0),
  }),
});
const MARK = "insert into bench_inbox (event_id) values ($1) on conflict do nothing returning 1";
const UPSERT = `
  insert into bench_metrics as m values ($1, $2, $3, $4, $5, $6, $7, $8)
  on conflict (campaign_id, date) do update set
    impressions = excluded.impressions, clicks = excluded.clicks,
    conversions = excluded.conversions, spend = excluded.spend, at = excluded.at
  where m.at <= excluded.at`;
const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

async function record(report) {
  const d = report.data;
  const client = await pool.connect();
  try {
    await client.query("begin");
    const marked = await client.query({ name: "mark", text: MARK, values: [report.id] });
    if (marked.rowCount) {
      const row = [d.campaign_id, d.platform, d.date, d.impressions, d.clicks, d.conversions];
      await client.query({ name: "upsert", text: UPSERT, values: [...row, d.spend, report.time] });
    }
    await client.query("commit");
  } finally {
    client.release();
  }
}

async function main() {
  const connection = await amqp.connect(process.env.RABBITMQ_URL);
  const channel = await connection.createChannel();
  await channel.prefetch(Number(process.env.BENCH_PREFETCH));
  await channel.consume(process.env.BENCH_QUEUE, async (message) => {
    await record(Report.parse(JSON.parse(message.content.toString())));
    channel.ack(message);
  });
}
main();
