//! The trading example, as far as these tests need it, loaded through a gateway like anybody's records.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use countersign::client::Client;
use countersign::compose::make_key;
use countersign::deployment::Deployment;
use countersign::import::{self, Checker, Existing, Format, Sending, Source};
use countersign::login::Login;
use countersign::manage;
use countersign::progress::Progress;
use countersign::terminal::Terminal;
use countersign_model::Name;
use countersign_model::control::{NewUser, PolicyFile};
use countersign_model::facts::UserKind;

use crate::world::World;

macro_rules! example {
    ($($part:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trading/", $($part),+))
    };
}

const TYPES: &str = example!("types.toml");

macro_rules! policies {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, example!("policies/", $name))),+]
    };
}

const POLICIES: &[(&str, &str)] =
    policies!("admin.cedar", "support.cedar", "accountant.cedar", "analyst.cedar", "rep.cedar", "auditor.cedar");

/// The example's policies.
pub fn policies() -> Vec<PolicyFile> {
    POLICIES.iter().map(|(name, text)| PolicyFile { name: (*name).into(), text: (*text).into() }).collect()
}

type Data = [(&'static str, &'static str); 3];

/// Tenants with what is loaded of them; in the order of references.
const TENANTS: [(&str, Data); 2] = [
    (
        "chinook",
        [
            ("employee", example!("data/chinook/employee.csv")),
            ("customer", example!("data/chinook/customer.csv")),
            ("product", example!("data/chinook/product.csv")),
        ],
    ),
    (
        "northwind",
        [
            ("employee", example!("data/northwind/employee.csv")),
            ("customer", example!("data/northwind/customer.csv")),
            ("product", example!("data/northwind/product.csv")),
        ],
    ),
];

/// Who works in each tenant, and as what. The first manages the others.
const PEOPLE: [(&str, &str); 4] =
    [("andrew", "admin"), ("nancy", "accountant"), ("michael", "support"), ("robert", "auditor")];

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Types, policies, tenants, people and records.
pub async fn load(world: &World) -> Result<()> {
    let operator = world.login("operator@operators").await?;
    manage::types_apply(&operator, TYPES, false).await?;
    manage::policies_apply(&operator, &policies(), false).await?;
    for (tenant, data) in TENANTS {
        manage::tenant_add(&operator, &name(tenant), None).await?;
        let mut client = None;
        for (user, role) in PEOPLE {
            add_user(&world.folder, client.as_ref().unwrap_or(&operator), tenant, user, role).await?;
            if client.is_none() {
                client = Some(world.login(&format!("{user}@{tenant}")).await?);
            }
        }
        let client = client.context("nobody")?;
        let types = manage::types(&client).await?;
        for (record_type, text) in data {
            let source = Source::memory(record_type, Format::Csv, text.as_bytes().to_vec());
            let mut checker = Checker::new(types.find(record_type).map(|(_, found)| found));
            let mut quiet = Progress::new(Terminal::detect(), record_type, None);
            let sending = Sending { batch: 500, existing: Existing::Changed };
            import::send(&client, record_type, &source, &mut checker, sending, &mut quiet).await?;
        }
    }
    Ok(())
}

/// Adds a person with a key of their own, or gives them another role.
pub async fn add_user(folder: &Deployment, client: &Client, tenant: &str, user: &str, role: &str) -> Result<()> {
    let who = Login { user: name(user), tenant: name(tenant) };
    let new = NewUser {
        name: who.user.clone(),
        roles: vec![name(role)],
        attributes: BTreeMap::new(),
        ssh_keys: vec![make_key(folder, &who)?],
        kind: UserKind::Person,
    };
    manage::user_put(client, &who.tenant, &new).await?;
    Ok(())
}
