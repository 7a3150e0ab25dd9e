//! What is really stored for the tenant, read past the program: files by SQLite's own tool, tables by PostgreSQL's.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use countersign_crypto::{SealKey, sealed_epoch};
use countersign_testkit::{DATABASE, Deployment, Postgres};

/// What a cell begins with: its format, and its key's epoch.
const HEAD: usize = 5;

/// A tenant that nobody serves.
pub enum Stored<'a> {
    File(PathBuf),
    Tables(&'a Postgres, String),
}

/// Everything of it.
#[derive(Default)]
pub struct Census {
    /// Cells of records, by epoch.
    pub cells: BTreeMap<u32, u64>,
    /// Cells of what records were.
    pub past: BTreeMap<u32, u64>,
    /// Tags of both, each with its column.
    pub tags: HashSet<String>,
}

impl<'a> Stored<'a> {
    /// The tenant with this id.
    pub fn open(deployment: &Deployment, postgres: Option<&'a Postgres>, tenant: &str) -> Self {
        match postgres {
            Some(server) => Self::Tables(server, tenant.to_owned()),
            None => Self::File(deployment.dir().join(format!("data/tenants/{tenant}.db"))),
        }
    }

    fn lines(&self, sql: &str) -> Result<Vec<String>> {
        let said = match self {
            Self::Tables(server, _) => server.sql(DATABASE, sql)?,
            Self::File(file) => {
                let output = Command::new("sqlite3").arg(file).arg(sql).stdin(Stdio::null()).output()?;
                ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout)?
            }
        };
        Ok(said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Tables of records and of what they were, each with its columns of cells and of tags.
    fn columns(&self) -> Result<Vec<(String, String)>> {
        let sql = match self {
            Self::File(_) => {
                "SELECT m.name || '|' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' \
                 AND (m.name GLOB 'r[0-9]*' OR m.name GLOB 'h[0-9]*') AND (c.name GLOB 'c[0-9]*' OR c.name GLOB 'x[0-9]*')"
            }
            Self::Tables(..) => {
                "SELECT table_name || '|' || column_name FROM information_schema.columns WHERE table_schema = \
                 'countersign' AND table_name ~ '^[rh][0-9]+$' AND column_name ~ '^[cx][0-9]+$'"
            }
        };
        let pair = |line: &String| Some(line.split_once('|')?).map(|(a, b)| (a.to_owned(), b.to_owned()));
        self.lines(sql)?.iter().map(|line| pair(line).context("no column")).collect()
    }

    /// `TABLE WHERE …`: the tenant's rows.
    fn rows(&self, table: &str) -> String {
        match self {
            Self::File(_) => format!("{table} WHERE true"),
            Self::Tables(_, tenant) => format!("countersign.{table} WHERE tenant = '{tenant}'"),
        }
    }

    fn hex(&self, bytes: &str) -> String {
        match self {
            Self::File(_) => format!("lower(hex({bytes}))"),
            Self::Tables(..) => format!("encode({bytes}, 'hex')"),
        }
    }

    /// Looks at every cell and every tag.
    pub fn census(&self) -> Result<Census> {
        let mut census = Census::default();
        for (table, column) in self.columns()? {
            let rows = self.rows(&table);
            if let Some(field) = column.strip_prefix('x') {
                let half =
                    self.lines(&format!("SELECT count(*) FROM {rows} AND (c{field} IS NULL) <> (x{field} IS NULL)"))?;
                ensure!(half == ["0"], "{half:?} tags or cells of {table}.{column} are without the other");
                let tags =
                    self.lines(&format!("SELECT DISTINCT {} FROM {rows} AND {column} IS NOT NULL", self.hex(&column)))?;
                census.tags.extend(tags.into_iter().map(|tag| format!("{column} of {}: {tag}", &table[1..])));
                continue;
            }
            let head = self.hex(&format!("substr({column}, 1, {HEAD})"));
            let heads = self.lines(&format!(
                "SELECT {head} || '|' || count(*) FROM {rows} AND {column} IS NOT NULL GROUP BY {head}"
            ))?;
            let cells = if table.starts_with('h') { &mut census.past } else { &mut census.cells };
            for line in heads {
                let (head, count) = line.split_once('|').context("no count")?;
                let mut cell = (0..HEAD)
                    .map(|at| u8::from_str_radix(head.get(at * 2..at * 2 + 2)?, 16).ok())
                    .collect::<Option<Vec<u8>>>()
                    .context("no cell")?;
                cell.resize(SealKey::OVERHEAD_BYTES, 0);
                let epoch = sealed_epoch(&cell).with_context(|| format!("{table}.{column} has what is not sealed"))?;
                *cells.entry(epoch).or_default() += count.parse::<u64>()?;
            }
        }
        ensure!(!census.cells.is_empty(), "nothing is stored");
        Ok(census)
    }
}
