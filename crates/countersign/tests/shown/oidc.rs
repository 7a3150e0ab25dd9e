//! People of a tenant log in at their own provider from the command line, and out of it when it is taken away.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use countersign_testkit::oidc::{Page, Providers};
use serde_json::Value;

use crate::{demo, target};

/// Settings of the first provider, for the trading example's roles.
fn settings(providers: &Providers) -> String {
    format!(
        "issuer = \"{}\"\nclient_id = \"countersign\"\nscopes = [\"profile\", \"groups\"]\nrole_claim = \"groups\"\n\
         ca_pem = '''{}'''\n[roles]\nAccounting = \"accountant\"\nSales = \"rep\"\n",
        providers.issuers()[0],
        providers.ca_pem()
    )
}

#[test]
#[ignore = "needs Node.js and an installed provider: cargo xtask test --only oidc"]
fn a_person_logs_in_from_the_command_line() -> Result<()> {
    let providers = Providers::start(&target().join("clients/oidc"))?;
    let (deployment, server) = demo()?;
    let andrew = ["--as", "andrew@northwind"];
    let file = deployment.dir().join("provider.toml");
    std::fs::write(&file, settings(&providers))?;
    let set = |secret: &str| {
        let mut command =
            deployment.command(&[&andrew[..], &["provider", "set", &file.display().to_string()]].concat());
        command.env("COUNTERSIGN_CLIENT_SECRET", secret).output().context("provider set")
    };
    assert!(set(&Providers::secret("countersign"))?.status.success());
    let shown: Value = serde_json::from_str(&deployment.run(&[&andrew[..], &["provider", "show"]].concat())?)?;
    assert_eq!(shown["has_client_secret"], true);

    // The deployment's own network is out of reach until the operator allows the one place in it.
    let refused = deployment.command(&["login", "--sso", "northwind"]).output()?;
    assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
    server.stop()?;
    let configuration = deployment.dir().join("countersign.toml");
    let places: Vec<String> = providers.places().map(|place| format!("\"{place}\"")).collect();
    let text = std::fs::read_to_string(&configuration)?;
    let allowed = text.replace("allow = []", &format!("allow = [{}]", places.join(", ")));
    assert_ne!(text, allowed, "the configuration has no [sso] allow");
    std::fs::write(&configuration, allowed)?;
    let server = deployment.serve()?;

    // The command says where to go; the person goes there in a browser; the command prints the token.
    let mut login =
        deployment.command(&["login", "--sso", "northwind"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(login.stderr.take().context("no standard error")?).lines();
    let first = said.next().context("nothing said")??;
    assert!(first.starts_with(&format!("Open {}", providers.issuers()[0])), "{first}");
    let second = said.next().context("no address with the code in it")??;
    let url = second.strip_prefix("or open ").context("no address")?;
    let Page::End(200, _) = providers.browser("margaret").visit(url)? else { bail!("the browser went elsewhere") };
    let mut token = String::new();
    login.stdout.take().context("no standard output")?.read_to_string(&mut token)?;
    assert!(login.wait()?.success());

    // An accountant, and nothing else: total yes, the customer's address no.
    let client = server.client()?.with_token(token.trim());
    let me = client.get("/v1/token")?.success()?.json()?;
    assert_eq!((me["user"].as_str(), me["tenant"].as_str()), (Some("margaret-park"), Some("northwind")));
    assert_eq!(me["roles"], serde_json::json!(["accountant"]));
    assert_eq!(client.get("/rest/v1/invoice?select=total&limit=1")?.status, 200);
    assert_eq!(client.get("/rest/v1/customer?select=address&limit=1")?.status, 403);

    // Nothing like that at a tenant without a provider, and no way in once this one is gone.
    let refused = deployment.command(&["login", "--sso", "chinook"]).output()?;
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    deployment.run(&[&andrew[..], &["provider", "remove"]].concat())?;
    assert_eq!(client.get("/v1/token")?.status, 401);
    server.stop()
}
