// The published JavaScript client against a demo, unchanged. See ../README.md for the environment.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PostgrestClient } from "@supabase/postgrest-js";

const base = process.env.COUNTERSIGN_URL + "/rest/v1";
const as = (token) =>
  new PostgrestClient(base, { headers: { Authorization: `Bearer ${process.env["TOKEN_" + token]}` } });
const admin = as("ADMIN");
const accountant = as("ACCOUNTANT");

/** The data of an answer that must be a success. */
async function ok(query) {
  const answer = await query;
  assert.equal(answer.error, null, JSON.stringify(answer.error));
  return answer;
}

test("reads chosen fields, renamed", async () => {
  const { data } = await ok(admin.from("customer").select("id,name:company").eq("id", "ALFKI"));
  assert.deepEqual(data, [{ id: "ALFKI", name: "Alfreds Futterkiste" }]);
});

test("reads exactly the permitted fields with *", async () => {
  const { data } = await ok(accountant.from("customer").select("*").eq("country", "Brazil"));
  assert.equal(data.length, 9);
  for (const row of data) assert.deepEqual(Object.keys(row).sort(), ["company", "country", "id"]);
});

test("filters", async () => {
  const count = async (build) => (await ok(build(admin.from("customer").select("id")))).data.length;
  assert.equal(await count((q) => q.eq("country", "Brazil")), 9);
  assert.equal(await count((q) => q.neq("country", "Brazil")), 82);
  assert.equal(await count((q) => q.in("id", ["ALFKI", "ANATR", "no such"])), 2);
  assert.equal(await count((q) => q.like("company", "A%")), 4);
  assert.equal(await count((q) => q.ilike("company", "alfreds%")), 1);
  assert.equal(await count((q) => q.or("id.eq.ALFKI,and(country.eq.Brazil,city.eq.Campinas)")), 2);
  assert.equal(await count((q) => q.match({ country: "Germany", city: "Berlin" })), 1);
  assert.equal(await count((q) => q.not("id", "in", "(ALFKI,ANATR)")), 89);
  const all = await count((q) => q);
  const without = await count((q) => q.is("fax", null));
  assert.equal(without + (await count((q) => q.not("fax", "is", null))), all);
  const { data } = await ok(admin.from("invoice").select("total").gte("total", 10000).lt("total", 20000));
  assert.ok(data.length > 0 && data.every((row) => row.total >= 10000 && row.total < 20000));
});

test("embeds both ways, nested, inner", async () => {
  const { data } = await ok(
    admin.from("customer").select("company,invoice(id,total,invoice_line(quantity))").eq("id", "ALFKI").single(),
  );
  assert.equal(data.company, "Alfreds Futterkiste");
  assert.equal(data.invoice.length, 6);
  for (const invoice of data.invoice) {
    assert.ok(invoice.total > 0 && invoice.invoice_line.length > 0);
    assert.deepEqual(Object.keys(invoice.invoice_line[0]), ["quantity"]);
  }
  const { data: up } = await ok(admin.from("invoice").select("id,customer(company)").eq("customer_id", "ALFKI").limit(1));
  assert.equal(up[0].customer.company, "Alfreds Futterkiste");
  const { data: inner } = await ok(admin.from("customer").select("id,invoice!inner(id)").in("id", ["ALFKI", "PARIS"]));
  assert.deepEqual(inner.map((row) => row.id), ["ALFKI"]);
});

test("orders and pages, with a count", async () => {
  const page = (from, to) =>
    ok(admin.from("customer").select("id,country", { count: "exact" }).order("country").order("id").range(from, to));
  const seen = [];
  for (let from = 0; from < 91; from += 20) {
    const { data, count, status } = await page(from, from + 19);
    assert.equal(count, 91);
    assert.equal(status, 206);
    seen.push(...data.map((row) => row.id));
  }
  assert.equal(new Set(seen).size, 91);
  const { data } = await ok(admin.from("customer").select("id").order("id", { ascending: false }).limit(1));
  assert.deepEqual(data, [{ id: "WOLZA" }]);
});

test("counts without rows", async () => {
  const { count, data } = await ok(accountant.from("customer").select("*", { count: "exact", head: true }));
  assert.equal(count, 91);
  assert.ok(!data);
});

test("one object, or none, or an error", async () => {
  const { data } = await ok(admin.from("customer").select("id").eq("id", "ALFKI").single());
  assert.deepEqual(data, { id: "ALFKI" });
  const { data: none } = await ok(admin.from("customer").select("id").eq("id", "no such").maybeSingle());
  assert.equal(none, null);
  const { error, status } = await admin.from("customer").select("id").eq("country", "Brazil").single();
  assert.equal(status, 406);
  assert.equal(error.code, "PGRST116");
});

test("gives CSV", async () => {
  const { data } = await ok(admin.from("customer").select("id,company").eq("id", "ALFKI").csv());
  assert.equal(data.trim(), "id,company\nALFKI,Alfreds Futterkiste");
});

test("inserts, upserts, updates, deletes", async () => {
  const id = "NODE1";
  await ok(admin.from("customer").delete().in("id", [id, "NODE2", "NODE3"]));
  const { data: made, status } = await ok(admin.from("customer").insert({ id, company: "Node & Söhne" }).select());
  assert.equal(status, 201);
  assert.equal(made[0].company, "Node & Söhne");
  const { error: twice, status: conflict } = await admin.from("customer").insert({ id, company: "again" });
  assert.equal(conflict, 409);
  assert.equal(twice.code, "23505");
  const many = [{ id, company: "Node, changed" }, { id: "NODE2", company: "Two" }, { id: "NODE3", company: "Three" }];
  const { data: merged } = await ok(admin.from("customer").upsert(many).select("id,company"));
  assert.equal(merged.length, 3);
  await ok(admin.from("customer").upsert({ id, company: "ignored" }, { ignoreDuplicates: true }));
  const { data: kept } = await ok(admin.from("customer").select("company").eq("id", id).single());
  assert.equal(kept.company, "Node, changed");
  const { data: updated } = await ok(admin.from("customer").update({ city: "Ulm" }).eq("id", id).select("id,city"));
  assert.deepEqual(updated, [{ id, city: "Ulm" }]);
  const tooMany = await admin.from("customer").update({ city: "no" }).in("id", [id, "NODE2", "NODE3"]).maxAffected(2);
  assert.equal(tooMany.error.code, "PGRST124");
  const { count } = await ok(admin.from("customer").delete({ count: "exact" }).in("id", [id, "NODE2", "NODE3"]));
  assert.equal(count, 3);
  const { data: gone } = await ok(admin.from("customer").select("id").in("id", [id, "NODE2", "NODE3"]));
  assert.deepEqual(gone, []);
});

test("a hidden field and one that does not exist get the same answer", async () => {
  const ask = async (field) => (await accountant.from("customer").select(`id,${field}`)).error;
  const strip = (error, field) => JSON.stringify(error).replaceAll(field, "");
  const [hidden, absent] = [await ask("phone"), await ask("nonsense")];
  assert.equal(strip(hidden, "phone"), strip(absent, "nonsense"));
  const { status } = await accountant.from("customer").select("id").eq("phone", "030-0074321");
  assert.equal(status, 403);
});

test("a rep sees only the customers it looks after, and may not write", async () => {
  const { data } = await ok(as("REP").from("customer").select("support_rep_id"));
  assert.ok(data.length > 0 && data.every((row) => row.support_rep_id === 3));
  const { status } = await as("REP").from("customer").insert({ id: "NO", company: "no" });
  assert.equal(status, 403);
});

test("another tenant is out of reach, and its own data is there", async () => {
  const { error, status } = await admin.schema("chinook").from("customer").select("id");
  assert.equal(status, 403);
  assert.ok(error);
  const { data } = await ok(as("OTHER").from("customer").select("company").eq("country", "Brazil"));
  assert.equal(data.length, 5);
});

test("a token that is not one is refused", async () => {
  const nobody = new PostgrestClient(base, { headers: { Authorization: "Bearer a.b.c" } });
  assert.equal((await nobody.from("customer").select("id")).status, 401);
  assert.equal((await new PostgrestClient(base).from("customer").select("id")).status, 401);
});
