use std::time::Duration;

use shared::{control::PrivateKey, stored};

use super::*;
use crate::leases::Lease;

#[tokio::test]
async fn files_that_come_change_and_go_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut folder, _) = ClientsFolder::open(dir.path(), pools()).unwrap();
    let mut client = client("a", 2);

    put(dir.path(), &client);
    let changes = next(&mut folder).await;
    assert_eq!(changes.added, [client.clone()]);

    client.prefixes = vec!["192.168.7.0/24".parse().unwrap()];
    put(dir.path(), &client);
    let changes = next(&mut folder).await;
    assert_eq!(changes.changed, [client.clone()]);

    stored::remove(&file(dir.path(), "a")).unwrap();
    let changes = next(&mut folder).await;
    assert_eq!(changes.removed, [client]);
    assert_eq!(folder.clients().count(), 0);
}

#[tokio::test]
async fn a_file_that_breaks_changes_nothing_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &client("a", 2));
    let (mut folder, problems) = ClientsFolder::open(dir.path(), pools()).unwrap();
    assert!(problems.is_empty());

    // An editor that writes in place.
    fs::write(file(dir.path(), "a"), "public_key = ").unwrap();
    let changes = next(&mut folder).await;

    assert!(changes.problems[0].to_string().contains("a.toml:1:"), "{:?}", changes.problems);
    assert!(changes.removed.is_empty());
    assert_eq!(folder.clients().count(), 1);
    put(dir.path(), &client("b", 3));
    let changes = next(&mut folder).await;
    assert_eq!((changes.added.len(), changes.problems.len()), (1, 0));
}

#[tokio::test]
async fn a_folder_that_disappears_ends_nothing_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clients.d");
    fs::create_dir(&path).unwrap();
    put(&path, &client("a", 2));
    let (mut folder, _) = ClientsFolder::open(&path, pools()).unwrap();

    fs::rename(&path, dir.path().join("aside")).unwrap();
    let changes = next(&mut folder).await;
    assert_eq!((changes.problems.len(), changes.removed.len()), (1, 0));

    fs::rename(dir.path().join("aside"), &path).unwrap();
    put(&path, &client("b", 3));
    // The first look may fall between the two.
    while folder.clients().count() < 2 {
        next(&mut folder).await;
    }
}

#[test]
fn a_second_client_with_the_same_lease_is_refused_with_the_name_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &client("a", 2));
    put(dir.path(), &client("b", 2));

    let (folder, problems) = ClientsFolder::open(dir.path(), pools()).unwrap();

    assert_eq!(folder.clients().map(|client| client.name.as_str()).collect::<Vec<_>>(), ["a"]);
    let text = problems[0].to_string();
    assert!(text.contains("b.toml:4:9: the client \"a\" has 10.77.0.2"), "{text}");
}

#[test]
fn clients_may_swap_their_leases_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (client("a", 2), client("b", 3));
    put(dir.path(), &a);
    put(dir.path(), &b);
    let (mut folder, _) = ClientsFolder::open(dir.path(), pools()).unwrap();

    std::mem::swap(&mut a.lease, &mut b.lease);
    put(dir.path(), &a);
    put(dir.path(), &b);
    let changes = folder.scan();

    assert_eq!(changes.changed, [a, b]);
    assert!(changes.problems.is_empty(), "{:?}", changes.problems);
}

#[test]
fn files_that_are_no_clients_are_left_alone_or_told() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".lock", ".a.toml.7.tmp", "notes.txt", ".a.toml.swp"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::write(dir.path().join("My Laptop.toml"), "x").unwrap();

    let (folder, problems) = ClientsFolder::open(dir.path(), pools()).unwrap();

    assert_eq!((folder.clients().count(), problems.len()), (0, 1));
    assert!(problems[0].to_string().contains("rename the file"), "{}", problems[0]);
}

#[test]
fn a_file_says_all_there_is_about_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = client("a", 2);
    client.lease.v6 = Some("fd77::2".parse().unwrap());
    client.prefixes = vec!["192.168.7.0/24".parse().unwrap(), "fd01::/48".parse().unwrap()];
    put(dir.path(), &client);

    let (folder, problems) = ClientsFolder::open(dir.path(), pools()).unwrap();

    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(folder.clients().collect::<Vec<_>>(), [&client]);
}

async fn next(folder: &mut ClientsFolder) -> Changes {
    // The contract: a running server follows within a second.
    tokio::time::timeout(Duration::from_secs(1), folder.changes()).await.expect("a change in time")
}

fn put(folder: &Path, client: &Client) {
    stored::write(&file(folder, &client.name), client.to_toml().as_bytes(), 0o644).unwrap();
}

fn client(name: &str, host: u8) -> Client {
    Client {
        name: name.to_owned(),
        public_key: PrivateKey::generate().public(),
        lease: Lease { v4: [10, 77, 0, host].into(), v6: None },
        prefixes: Vec::new(),
        modes: Vec::new(),
    }
}

fn pools() -> Pools {
    Pools { v4: "10.77.0.0/16".parse().unwrap(), v6: Some("fd77::/64".parse().unwrap()) }
}
