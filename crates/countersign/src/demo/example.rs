//! The example that comes with the program: examples/trading, in the program itself so that it works anywhere.

use countersign_model::control::PolicyFile;

/// A file of the example, by its path there.
macro_rules! example {
    ($($part:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trading/", $($part),+))
    };
}

/// The record types.
pub(super) const TYPES: &str = example!("types.toml");

macro_rules! policies {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, example!("policies/", $name))),+]
    };
}

const POLICIES: &[(&str, &str)] =
    policies!("admin.cedar", "support.cedar", "accountant.cedar", "analyst.cedar", "rep.cedar", "auditor.cedar",);

/// The policies.
pub(super) fn policies() -> Vec<PolicyFile> {
    POLICIES.iter().map(|(name, text)| PolicyFile { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

/// A subscriber of the example.
pub(super) struct Company {
    /// The tenant's name.
    pub(super) name: &'static str,
    /// Its users.
    pub(super) users: &'static [User],
    /// Its records by type, each type after those that it refers to.
    pub(super) data: &'static [(&'static str, &'static str)],
}

/// An employee of the company who uses the system.
pub(super) struct User {
    /// First name in lower case.
    pub(super) name: &'static str,
    /// What policies know it as.
    pub(super) role: &'static str,
    /// The employee's number in the data, for those whom policies compare by it.
    pub(super) employee: Option<&'static str>,
}

const fn user(name: &'static str, role: &'static str) -> User {
    User { name, role, employee: None }
}

const fn rep(name: &'static str, employee: &'static str) -> User {
    User { name, role: "rep", employee: Some(employee) }
}

macro_rules! data {
    ($company:literal) => {
        &[
            ("employee", example!("data/", $company, "/employee.csv")),
            ("customer", example!("data/", $company, "/customer.csv")),
            ("product", example!("data/", $company, "/product.csv")),
            ("invoice", example!("data/", $company, "/invoice.csv")),
            ("invoice_line", example!("data/", $company, "/invoice_line.csv")),
        ]
    };
}

/// Both companies.
pub(super) const COMPANIES: [Company; 2] = [
    Company {
        name: "chinook",
        users: &[
            user("andrew", "admin"),
            user("michael", "support"),
            user("nancy", "accountant"),
            user("laura", "analyst"),
            user("robert", "auditor"),
            rep("jane", "3"),
            rep("margaret", "4"),
            rep("steve", "5"),
        ],
        data: data!("chinook"),
    },
    Company {
        name: "northwind",
        users: &[
            user("andrew", "admin"),
            user("michael", "support"),
            user("nancy", "accountant"),
            user("laura", "analyst"),
            user("robert", "auditor"),
            rep("janet", "3"),
            rep("margaret", "4"),
            rep("steven", "5"),
        ],
        data: data!("northwind"),
    },
];
