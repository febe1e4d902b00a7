//! nftables, spoken to as text through the program `nft`.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{HostError, Result};

/// Runs a script as one transaction: all of it takes effect at once, or nothing.
pub(super) async fn run(table: &str, script: &str) -> Result<()> {
    feed(table, &["-f", "-"], script).await
}

async fn feed(table: &str, arguments: &[&str], script: &str) -> Result<()> {
    let refused = |stderr: String| HostError::Nft { table: table.to_owned(), stderr };
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_started)?;
    if let Some(mut stdin) = child.stdin.take() {
        // nft that ends early says why on stderr.
        let _ = stdin.write_all(script.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| refused(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if stderr.contains("Operation not permitted") {
        return Err(HostError::Rights { what: format!("make the nft table {table}") });
    }
    stderr.truncate(stderr.floor_char_boundary(STDERR_MAX));
    Err(refused(stderr))
}

/// Lets nft and the kernel judge a script, which changes nothing.
///
/// # Errors
/// When nft is missing, or they would refuse it.
pub async fn nft_check(table: &str, script: &str) -> Result<()> {
    feed(table, &["-c", "-f", "-"], script).await
}

/// Removes a table, family inet; one that isn't there is no error.
pub(super) async fn delete(table: &str) -> Result<()> {
    run(table, &format!("add table inet {table}\ndelete table inet {table}\n")).await
}

/// The rules of the host as JSON, without the elements of sets.
///
/// # Errors
/// When nft is missing, refuses, or gives something else than JSON.
pub async fn nft_ruleset_json() -> Result<Value> {
    json("(all)", &["-t", "list", "ruleset"]).await
}

/// How many elements a set of a table, family inet, has.
///
/// # Errors
/// When nft is missing, refuses, or gives something else than JSON.
pub async fn nft_set_len(table: &str, set: &str) -> Result<u64> {
    let listed = json(table, &["list", "set", "inet", table, set]).await?;
    let objects = listed["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let elements = objects.iter().find_map(|object| object["set"]["elem"].as_array());
    Ok(elements.map_or(0, |elements| elements.len() as u64))
}

/// The packets that the named counters of a table, family inet, have counted.
///
/// # Errors
/// When nft is missing, refuses, or gives something else than JSON.
pub async fn nft_counters(table: &str) -> Result<BTreeMap<String, u64>> {
    let listed = json(table, &["list", "counters", "table", "inet", table]).await?;
    let objects = listed["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let counter = |object: &Value| {
        let counter = &object["counter"];
        Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
    };
    Ok(objects.iter().filter_map(counter).collect())
}

async fn json(table: &str, command: &[&str]) -> Result<Value> {
    let output = Command::new("nft")
        .arg("-j")
        .args(command)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(not_started)?;
    let refused = |stderr: String| HostError::Nft { table: table.to_owned(), stderr };
    if !output.status.success() {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refused(error.to_string()))
}

/// Chains that drop what they don't accept on its way through the host, and don't accept what
/// comes in by `interface`: each with the command that makes it accept that.
///
/// `ruleset` is what [`nft_ruleset_json`] gives. Chains that `nft` can't see (the older iptables)
/// aren't found.
pub fn forward_refusals(ruleset: &Value, interface: &str) -> Vec<String> {
    let objects = ruleset["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let chains = objects.iter().map(|object| &object["chain"]);
    let refusing = chains.filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop");
    let mut refusals = Vec::new();
    for chain in refusing.take(REFUSALS_MAX) {
        let text = |key: &str| chain[key].as_str().unwrap_or_default();
        let (family, table, name) = (text("family"), text("table"), text("name"));
        let accepted = objects.iter().map(|object| &object["rule"]).any(|rule| {
            let of_chain = rule["family"] == family && rule["table"] == table;
            of_chain && accepts(&rule["expr"], interface)
        });
        if accepted {
            continue;
        }
        // Docker keeps a chain of its own for such rules, and rewrites the others.
        let docker = objects.iter().map(|object| &object["chain"]).any(|other| {
            other["family"] == family && other["table"] == table && other["name"] == "DOCKER-USER"
        });
        let place = if docker { "DOCKER-USER" } else { name };
        refusals.push(format!(
            "nft 'insert rule {family} {table} {place} iifname \"{interface}\" accept; \
             insert rule {family} {table} {place} oifname \"{interface}\" \
             ct state established,related accept'"
        ));
    }
    refusals
}

/// Whether a rule names the interface as the one that packets come in by, and accepts them.
fn accepts(expression: &Value, interface: &str) -> bool {
    let statements = expression.as_array().map_or(&[][..], Vec::as_slice);
    let names_it = statements.iter().any(|statement| {
        let matched = &statement["match"];
        let key = &matched["left"]["meta"]["key"];
        (key == "iifname" || key == "iif") && matched["right"] == interface
    });
    names_it && statements.iter().any(|statement| statement.get("accept").is_some())
}

fn not_started(error: std::io::Error) -> HostError {
    match error.kind() {
        std::io::ErrorKind::NotFound => HostError::NoNft,
        _ => HostError::system("run nft", error),
    }
}

/// Enough for a person; nft repeats a long script line by line.
const STDERR_MAX: usize = 2000;
/// A person reads no more warnings than that.
const REFUSALS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_forward_chain_that_drops_is_named_with_its_cure() {
        let ruleset = ruleset(json!([]));

        let refusals = forward_refusals(&ruleset, "hawser0");

        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].contains("insert rule ip filter FORWARD iifname \"hawser0\" accept"));
    }

    #[test]
    fn the_cure_silences_the_warning_for_its_interface_only() {
        let ruleset = ruleset(json!([
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "hawser0"}},
            {"accept": null}
        ]));

        assert_eq!(forward_refusals(&ruleset, "hawser0"), Vec::<String>::new());
        assert_eq!(forward_refusals(&ruleset, "hawser1").len(), 1);
    }

    #[test]
    fn anything_but_a_ruleset_refuses_nothing() {
        for value in [json!(null), json!({"nftables": 7}), json!({"nftables": [{"chain": []}]})] {
            assert_eq!(forward_refusals(&value, "hawser0"), Vec::<String>::new());
        }
    }

    fn ruleset(expression: Value) -> Value {
        json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter",
                       "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter",
                       "hook": "input", "prio": 0, "policy": "drop"}},
            {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 4,
                      "expr": expression}}
        ]})
    }
}
