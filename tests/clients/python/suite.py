"""The published Python client against a demo, unchanged. See ../README.md for the environment."""

import os
import ssl
import unittest

import httpx
from postgrest import SyncPostgrestClient
from postgrest.exceptions import APIError
from postgrest.types import CountMethod

BASE = os.environ["COUNTERSIGN_URL"] + "/rest/v1"
TLS = ssl.create_default_context(cafile=os.environ["COUNTERSIGN_CA"])


def client(token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    session = httpx.Client(base_url=BASE, verify=TLS, http2=True, timeout=60)
    return SyncPostgrestClient(BASE, headers=headers, http_client=session)


def holder(name):
    return client(os.environ["TOKEN_" + name])


class Suite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.admin = holder("ADMIN")
        cls.accountant = holder("ACCOUNTANT")

    def refused(self, query):
        with self.assertRaises(APIError) as caught:
            query.execute()
        return caught.exception

    def ids(self, query):
        return sorted(row["id"] for row in query.execute().data)

    def test_reads_chosen_fields_renamed(self):
        rows = self.admin.from_("customer").select("id", "name:company").eq("id", "ALFKI").execute().data
        self.assertEqual(rows, [{"id": "ALFKI", "name": "Alfreds Futterkiste"}])

    def test_star_gives_exactly_the_permitted_fields(self):
        rows = self.accountant.from_("customer").select("*").eq("country", "Brazil").execute().data
        self.assertEqual(len(rows), 9)
        for row in rows:
            self.assertEqual(set(row), {"id", "company", "country"})

    def test_filters(self):
        def table():
            return self.admin.from_("customer").select("id")

        self.assertEqual(len(self.ids(table().neq("country", "Brazil"))), 82)
        self.assertEqual(self.ids(table().in_("id", ["ALFKI", "ANATR", "no such"])), ["ALFKI", "ANATR"])
        self.assertEqual(len(self.ids(table().like("company", "A%"))), 4)
        self.assertEqual(self.ids(table().ilike("company", "alfreds%")), ["ALFKI"])
        self.assertEqual(len(self.ids(table().or_("id.eq.ALFKI,and(country.eq.Brazil,city.eq.Campinas)"))), 2)
        self.assertEqual(self.ids(table().match({"country": "Germany", "city": "Berlin"})), ["ALFKI"])
        self.assertEqual(len(self.ids(table().not_.in_("id", ["ALFKI", "ANATR"]))), 89)
        without, with_fax = self.ids(table().is_("fax", "null")), self.ids(table().not_.is_("fax", "null"))
        self.assertEqual(len(without) + len(with_fax), 91)
        rows = self.admin.from_("invoice").select("total").gt("total", 10000).lte("total", 20000).execute().data
        self.assertTrue(rows and all(10000 < row["total"] <= 20000 for row in rows))

    def test_a_value_with_commas_quotes_and_parentheses(self):
        name = 'Dots. Commas, "quotes" and (parentheses)'
        self.admin.from_("customer").delete().eq("id", "PYQ").execute()
        self.admin.from_("customer").insert({"id": "PYQ", "company": name}).execute()
        self.assertEqual(self.ids(self.admin.from_("customer").select("id").in_("company", [name, "x"])), ["PYQ"])
        self.assertEqual(self.ids(self.admin.from_("customer").select("id").eq("company", name)), ["PYQ"])
        self.admin.from_("customer").delete().eq("id", "PYQ").execute()

    def test_embeds(self):
        select = "company,invoice(id,total,invoice_line(quantity))"
        row = self.admin.from_("customer").select(select).eq("id", "ALFKI").single().execute().data
        self.assertEqual(len(row["invoice"]), 6)
        for invoice in row["invoice"]:
            self.assertGreater(len(invoice["invoice_line"]), 0)
            self.assertEqual(set(invoice["invoice_line"][0]), {"quantity"})
        rows = self.admin.from_("invoice").select("id,customer(company)").eq("customer_id", "ALFKI").limit(1).execute()
        self.assertEqual(rows.data[0]["customer"]["company"], "Alfreds Futterkiste")

    def test_pages_with_a_count(self):
        seen = []
        for start in range(0, 91, 20):
            query = self.admin.from_("customer").select("id", count=CountMethod.exact).order("country").order("id")
            answer = query.range(start, start + 19).execute()
            self.assertEqual(answer.count, 91)
            seen += [row["id"] for row in answer.data]
        self.assertEqual(len(set(seen)), 91)
        rows = self.admin.from_("customer").select("id").order("id", desc=True).limit(1).execute().data
        self.assertEqual(rows, [{"id": "WOLZA"}])

    def test_counts_without_rows(self):
        answer = self.accountant.from_("customer").select("*", count=CountMethod.exact, head=True).execute()
        self.assertEqual(answer.count, 91)

    def test_single(self):
        row = self.admin.from_("customer").select("id").eq("id", "ALFKI").single().execute().data
        self.assertEqual(row, {"id": "ALFKI"})
        error = self.refused(self.admin.from_("customer").select("id").eq("country", "Brazil").single())
        self.assertEqual(error.code, "PGRST116")
        self.assertIsNone(self.admin.from_("customer").select("id").eq("id", "no such").maybe_single().execute())

    def test_csv(self):
        text = self.admin.from_("customer").select("id,company").eq("id", "ALFKI").csv().execute().data
        self.assertEqual(text.strip(), "id,company\nALFKI,Alfreds Futterkiste")

    def test_writes(self):
        table = lambda: self.admin.from_("customer")
        ids = ["PY1", "PY2", "PY3"]
        table().delete().in_("id", ids).execute()
        made = table().insert({"id": "PY1", "company": "Python & Söhne"}).execute().data
        self.assertEqual(made[0]["company"], "Python & Söhne")
        self.assertEqual(self.refused(table().insert({"id": "PY1", "company": "again"})).code, "23505")
        many = [{"id": id, "company": f"company {id}"} for id in ids]
        self.assertEqual(len(table().upsert(many).execute().data), 3)
        table().upsert({"id": "PY1", "company": "ignored"}, ignore_duplicates=True).execute()
        row = table().select("company").eq("id", "PY1").single().execute().data
        self.assertEqual(row, {"company": "company PY1"})
        updated = table().update({"city": "Ulm"}).eq("id", "PY1").execute().data
        self.assertEqual((len(updated), updated[0]["city"]), (1, "Ulm"))
        error = self.refused(table().update({"city": "no"}).in_("id", ids).max_affected(2))
        self.assertEqual(error.code, "PGRST124")
        self.assertEqual(len(table().delete().in_("id", ids).execute().data), 3)
        self.assertEqual(self.ids(table().select("id").in_("id", ids)), [])

    def test_a_hidden_field_and_one_that_does_not_exist_get_the_same_answer(self):
        def ask(field):
            return repr(self.refused(self.accountant.from_("customer").select(f"id,{field}"))).replace(field, "")

        self.assertEqual(ask("phone"), ask("nonsense"))
        self.refused(self.accountant.from_("customer").select("id").eq("phone", "030-0074321"))

    def test_a_rep_sees_only_its_own_customers(self):
        rows = holder("REP").from_("customer").select("support_rep_id").execute().data
        self.assertTrue(rows and all(row["support_rep_id"] == 3 for row in rows))
        self.refused(holder("REP").from_("customer").insert({"id": "NO", "company": "no"}))

    def test_another_tenant_is_out_of_reach(self):
        self.refused(self.admin.schema("chinook").from_("customer").select("id"))
        rows = holder("OTHER").from_("customer").select("company").eq("country", "Brazil").execute().data
        self.assertEqual(len(rows), 5)

    def test_no_token_and_no_real_token_are_refused(self):
        self.refused(client(None).from_("customer").select("id"))
        self.refused(client("a.b.c").from_("customer").select("id"))


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
