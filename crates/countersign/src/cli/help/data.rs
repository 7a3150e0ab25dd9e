//! Help about data that goes out and comes in.

pub(crate) const IMPORT: &str = "\
Every row is checked against the record type before the first is sent: a bad row names its line \
and column, and then nothing is imported unless --skip-bad collects the bad rows. Rows are sent in \
batches. Each batch is stored whole or not at all, but the file as a whole is not one transaction: \
if the connection breaks midway, the batches before are stored. Run the same command again with \
--upsert: rows that are there are then set to the same values.

With a folder that `countersign export` made in place of TYPE and FILE, all of it is imported: first every file is compared \
with the manifest and the record types with those in force, and nothing is imported unless all fit. Records that are \
there already are left as they are, so the same command can be run again after an interruption; --upsert sets them to what \
the export has. docs/export.md says more.

Examples:
  countersign --dir ./deployment --as andrew@northwind import ./northwind-export
  countersign --dir ./deployment --as andrew@northwind import customer customer.csv
  countersign import customer customer.csv --dry-run
  countersign import invoice invoices.ndjson --skip-bad bad.ndjson
  zcat customer.csv.gz | countersign import customer - --upsert";

pub(crate) const EXPORT_DATA: &str = "\
Asks for the records page by page, as any client does: every rule, budget and audit record applies. What is interrupted, \
or stopped by a budget, is gone on with by the same command. docs/export.md says what is in the folder, and what pages of \
data that changes meanwhile mean. Whoever has the files can read them: they are not sealed. Values are not altered: a \
spreadsheet may take texts in CSV that begin with =, +, - or @ for formulas.

Examples:
  countersign --dir ./deployment --as andrew@northwind export --to ./northwind-export
  countersign export --to ./customers --types customer,invoice --format csv --purpose 'moving to another provider'
  countersign import ./northwind-export";
