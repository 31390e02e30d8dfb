// The tour's Checkout, written with Restate's TypeScript SDK: the contract is the same tour.proto, the messages are the same bytes.
//
//   tsx checkout.ts PROTOS OUTSIDE PORT [http1]
//
// PROTOS is the folder with tour/v1/tour.proto, OUTSIDE the one in which the fakes of the outside world keep what they did.

import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";

import * as restate from "@restatedev/restate-sdk";
import protobuf from "protobufjs";

const [protos, outside, port, mode] = process.argv.slice(2) as [string, string, string, string | undefined];

// ---- The contract

const shipped = dirname(createRequire(import.meta.url).resolve("protobufjs/package.json"));
const root = new protobuf.Root();
root.resolvePath = (_, target) => join(target.startsWith("google/") ? shipped : protos, target);
root.loadSync("tour/v1/tour.proto");

/** How messages of one type are sent: binary protobuf, as every other service of the tour does. */
function message<T extends object>(name: string): restate.Serde<T> {
  const type = root.lookupType(name);
  return {
    contentType: "application/proto",
    serialize: (value) => type.encode(type.fromObject(value)).finish(),
    deserialize: (data) => type.toObject(type.decode(data), { defaults: true, arrays: true, longs: Number }) as T,
  };
}

interface CheckoutFlowRequest {
  userId: string;
  tickets: string[];
}

const checkoutFlowRequest = message<CheckoutFlowRequest>("tour.v1.CheckoutFlowRequest");
const boolValue = message<{ value: boolean }>("google.protobuf.BoolValue");
const ticket = message<{ ticketId: string; userId: string }>("tour.v1.Ticket");
const sale = message<{ tickets: string[]; amount: number }>("tour.v1.Sale");
const paymentConfirmation = message<{ approved: boolean; reference: string }>("tour.v1.PaymentConfirmation");

// ---- The world outside, in the same files as the example's

interface Payment {
  key: string;
  status: string;
}

function lines<T>(file: string): T[] {
  const path = join(outside, file);
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as T);
}

function append(file: string, event: object): void {
  appendFileSync(join(outside, file), `${JSON.stringify(event)}\n`);
}

/** Out of order for the first two requests of every payment; however often it is asked, it charges once. */
function charge(key: string, user: string, cents: number, callback: string): string {
  append("requests.jsonl", { key });
  const known = lines<Payment>("payments.jsonl").find((payment) => payment.key === key);
  if (known !== undefined) return known.status;
  if (lines<Payment>("requests.jsonl").filter((request) => request.key === key).length <= 2) {
    throw new Error("the payment provider is out of order");
  }
  const status = user.startsWith("broke") ? "declined" : cents >= 10_000 ? "pending" : "charged";
  append("payments.jsonl", { key, user, cents, status, callback });
  return status;
}

// ---- The service

const PRICE = 4_200;
const PAYMENT_RETRY = { initialRetryInterval: { milliseconds: 20 }, retryIntervalFactor: 1.5 };

async function pay(ctx: restate.Context, user: string, amount: number): Promise<boolean> {
  const key = await ctx.run("choose payment key", () => randomUUID());
  const confirmation = ctx.awakeable(paymentConfirmation);
  try {
    const status = await ctx.run("charge", () => charge(key, user, amount, confirmation.id), PAYMENT_RETRY);
    if (status !== "pending") return status === "charged";
    const answer = await confirmation.promise.orTimeout({ hours: 1 });
    if (answer.approved) return true;
  } catch (error) {
    if (!(error instanceof restate.TerminalError)) throw error;
    if (error instanceof restate.CancelledError) {
      await ctx.run("void", () => append("payments.jsonl", { key, status: "void" }));
      throw error;
    }
  }
  await ctx.run("void", () => append("payments.jsonl", { key, status: "void" }));
  return false;
}

const checkout = restate.service({
  name: "tour.v1.Checkout",
  handlers: {
    Handle: restate.handlers.handler(
      { input: checkoutFlowRequest, output: boolValue },
      async (ctx: restate.Context, request: CheckoutFlowRequest) => {
        if (request.tickets.length === 0) {
          throw new restate.TerminalError("there is nothing to be paid for", { errorCode: 400 });
        }
        const amount = PRICE * request.tickets.length;
        const paid = await pay(ctx, request.userId, amount);

        for (const ticketId of request.tickets) {
          ctx.genericSend({
            service: "tour.v1.TicketService",
            method: paid ? "MarkAsSold" : "Unreserve",
            key: ticketId,
            parameter: { ticketId, userId: request.userId },
            inputSerde: ticket,
          });
        }
        if (paid) {
          // A call that is waited for: the totals are right when the customer hears of it.
          await ctx.genericCall({
            service: "tour.v1.BoxOffice",
            method: "Record",
            key: "_",
            parameter: { tickets: request.tickets, amount },
            inputSerde: sale,
            outputSerde: restate.serde.binary,
          });
        }
        const text = paid ? `You bought ${request.tickets.join(", ")}.` : "Your payment was declined.";
        await ctx.run("send mail", () => append("mails.jsonl", { to: request.userId, text }));
        return { value: paid };
      },
    ),
  },
});

// ---- The server

const handler = restate.createEndpointHandler({ services: [checkout] });
const server = mode === "http1" ? http.createServer(handler) : http2.createServer(handler);
server.listen(Number(port), "127.0.0.1", () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
