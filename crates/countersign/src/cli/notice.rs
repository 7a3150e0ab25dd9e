//! `countersign notice …`

use std::path::PathBuf;

use clap::Subcommand;
use countersign_model::IncidentId;
use http::Method;
use serde_json::{Value, json};

use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::breach;
use crate::deployment::new_file;
use crate::problem::Problem;
use crate::table::{Output, Table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the notices of breaches that concern your tenant.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind notice list")]
    List,
    /// Read one, with the records that it is about. The first time is put on record as its delivery.
    #[command(after_help = help::NOTICE_READ)]
    Read {
        /// The incident, as `notice list` shows it.
        #[arg(value_parser = identifier::<IncidentId>)]
        incident: IncidentId,
        /// Write the notice with all records to a new file, as JSON.
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Say that it was read.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment --as andrew@northwind notice ack INCIDENT")]
    Ack {
        /// The incident, as `notice list` shows it.
        #[arg(value_parser = identifier::<IncidentId>)]
        incident: IncidentId,
    },
}

const COLUMNS: [&str; 6] = ["incident", "opened", "given", "delivered", "acknowledged", "language"];

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    match command {
        Command::List => {
            let notices = client.get("/v1/notices").await?;
            let notices = notices.as_array().ok_or_else(|| Problem::failed("the server's answer is not a list"))?;
            Table::of(&COLUMNS, notices).write(&context.terminal, context.output())
        }
        Command::Read { incident, file } => {
            let path = format!("/v1/notices/{incident}/delivery");
            let notice = client.put(Method::POST, &path, &json!({})).await?;
            if let Some(file) = file {
                new_file(&file, format!("{notice:#}\n").as_bytes(), true)?;
                context.terminal.note(&format!("{} has the notice and the records", file.display()));
                return Ok(());
            }
            match context.output() {
                Output::Json => context.terminal.line(&notice.to_string()),
                _ => context.terminal.line(&breach::notice(&notice)),
            }
        }
        Command::Ack { incident } => {
            let path = format!("/v1/notices/{incident}/acknowledgement");
            let said: Value = client.put(Method::POST, &path, &json!({})).await?;
            if context.output() == Output::Json {
                return context.terminal.line(&said.to_string());
            }
            context.terminal.note("acknowledged");
            Ok(())
        }
    }
}
