//! What Postgres promises on top: servers that go and come back, and what it says when it cannot be had.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::question::Answer;
use ambidex_core::record::RecordKind;
use ambidex_core::store::{AnyStore, FailureKind, Lease, RunQuery, StoreError, StoreFailure};
use ambidex_store::{Durability, PostgresOptions, PostgresStore};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{Cluster, fresh_schema, shared};
use crate::support::*;

fn options() -> PostgresOptions {
    PostgresOptions { schema: fresh_schema(), ..PostgresOptions::default() }
}

async fn connect(cluster: &Cluster, options: &PostgresOptions) -> PostgresStore {
    PostgresStore::connect(&cluster.url(), options.clone()).await.unwrap()
}

fn failure<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreFailure {
    match result.unwrap_err() {
        StoreError::Unavailable(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_goes_on_when_its_server_is_back() {
    let cluster = Cluster::new();
    let options = options();
    let store = connect(&cluster, &options).await;
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1"]).await;
    any.append_events("a", 1, vec![note("a", "1")]).await.unwrap();
    // Events do not wait for the disk: this takes them along.
    store.flush().await.unwrap();
    let mut waiting = any.answered("a/ask:1");
    assert!((&mut waiting).now_or_never().is_none());

    cluster.stop();
    let batch = driver.batch(vec![RecordKind::Claimed]);
    for failed in [
        failure(any.commit("a", 1, driver.next, batch.clone()).await),
        failure(any.load("a").await),
        failure(any.runs(RunQuery::default()).await),
        failure(any.append_events("a", 1, vec![note("a", "2")]).await),
    ] {
        assert_eq!(failed.kind, FailureKind::Unreachable);
        assert!(StoreError::Unavailable(Box::new(failed.clone())).is_retryable());
        assert!(failed.place.starts_with("postgres://127.0.0.1:"), "{failed}");
    }
    assert!((&mut waiting).now_or_never().is_none(), "it waits on");

    cluster.start();
    driver.step().await.unwrap();
    assert_eq!(any.load("a").await.unwrap().records.len() as u64, driver.next);
    assert_eq!(any.append_events("a", 1, vec![note("a", "2")]).await, Ok(2));
    // Another process answers.
    let other = connect(&cluster, &options).await;
    other.close().await;
    let other: Arc<dyn AnyStore> = Arc::new(connect(&cluster, &options).await);
    other.answer("a/ask:1", Answer::Approve).await.unwrap();
    assert_eq!(waiting.await, Answer::Approve);
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_answer_given_while_nobody_listened_is_heard() {
    let cluster = Cluster::new();
    let options = options();
    let any: Arc<dyn AnyStore> = Arc::new(connect(&cluster, &options).await);
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1"]).await;
    let waiting = any.answered("a/ask:1");
    // The connections break; whoever comes first after that answers, before the old ones are made again.
    cluster.stop();
    cluster.start();
    let other: Arc<dyn AnyStore> = Arc::new(connect(&cluster, &options).await);
    other.answer("a/ask:1", Answer::Repeat).await.unwrap();
    assert_eq!(waiting.await, Answer::Repeat);
}

#[tokio::test]
async fn what_cannot_be_had_says_why() {
    let cluster = shared();
    let url = cluster.url();
    let refused = async |url: &str, options: PostgresOptions| {
        let failed = failure(PostgresStore::connect(url, options).await.map(drop));
        assert!(!failed.problem.contains("hush") && !failed.place.contains("hush"), "{failed}");
        (failed.kind, failed.to_string())
    };
    let (kind, text) = refused("mysql://tests:hush@localhost/x", options()).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{text}");
    let (kind, text) =
        refused(&url.replace("/postgres", "/nothing").replace("tests@", "tests:hush@"), options()).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{text}");
    assert!(text.contains("database \"nothing\" does not exist"), "{text}");
    let (kind, text) = refused(&url.replace("tests@", "nobody:hush@"), options()).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{text}");
    let (kind, text) = refused("postgres://tests:hush@127.0.0.1:1/postgres", options()).await;
    assert_eq!(kind, FailureKind::Unreachable, "{text}");
    let (kind, text) = refused(&format!("{url}?sslmode=require"), options()).await;
    assert_eq!(kind, FailureKind::Unreachable, "{text}");
    assert!(text.contains("does not support TLS"), "{text}");
    let schema = "a; DROP TABLE runs".to_owned();
    let (kind, text) = refused(&url, PostgresOptions { schema, ..options() }).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{text}");
}

#[tokio::test]
async fn a_connection_that_must_be_encrypted_is_and_its_server_is_checked() {
    let cluster = Cluster::new();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    cluster.encrypt(&key.cert.pem(), &key.signing_key.serialize_pem());
    let folder = tempfile::TempDir::new().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, key.cert.pem()).unwrap();
    let url = |host: &str, mode: &str| format!("{}?sslmode={mode}", cluster.url().replace("127.0.0.1", host));
    let trusting = PostgresOptions { root_certificates: Some(roots.clone()), ..options() };

    for mode in ["require", "verify-full"] {
        let store = PostgresStore::connect(&url("localhost", mode), trusting.clone()).await.unwrap();
        let any: Arc<dyn AnyStore> = Arc::new(store.clone());
        Driver::accept(&any, mode).await.step().await.unwrap();
        any.append_events(mode, 1, vec![note(mode, "1")]).await.unwrap();
        assert_eq!(any.load(mode).await.unwrap().records.len(), 3);
        let (client, connection) =
            tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'ambidex'";
        let rows = client.query(sql, &[]).await.unwrap();
        assert!(rows.len() >= 3 && rows.iter().all(|row| row.get(0)), "{} connections", rows.len());
        store.close().await;
    }
    // A name that is not in the certificate, and a certificate nobody vouches for.
    for (host, options) in [("127.0.0.1", trusting), ("localhost", options())] {
        let failed = failure(PostgresStore::connect(&url(host, "require"), options).await.map(drop));
        assert_eq!(failed.kind, FailureKind::Unreachable, "{failed}");
        assert!(failed.problem.contains("certificate"), "{failed}");
    }
    let nothing = PostgresOptions { root_certificates: Some(folder.path().join("none.pem")), ..options() };
    let failed = failure(PostgresStore::connect(&url("localhost", "require"), nothing).await.map(drop));
    assert_eq!(failed.kind, FailureKind::CannotOpen, "{failed}");
    assert!(failed.problem.contains("none.pem"), "{failed}");
}

async fn raw() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&shared().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let options = options();
    connect(shared(), &options).await.close().await;
    let sql = format!("UPDATE {}.counters SET value = 9 WHERE name = 'version'", options.schema);
    raw().await.batch_execute(&sql).await.unwrap();
    let failed = failure(PostgresStore::connect(&shared().url(), options).await.map(drop));
    assert_eq!(failed.kind, FailureKind::Newer);
    let text = failed.to_string();
    assert!(
        text.contains("has version 9, this build knows up to 2") && text.contains("Use the version"),
        "{text}"
    );
}

#[tokio::test]
async fn tables_of_version_1_are_brought_up_to_date() {
    let options = options();
    let schema = &options.schema;
    let raw = raw().await;
    // The first tables of this version renewed what was let go of.
    let fence = " OR (_row.owner IS NULL AND _until > 0)";
    let first = include_str!("../../src/postgres/schema.sql");
    assert!(first.contains(fence));
    let first = first.replace(fence, "");
    let version = "INSERT INTO counters VALUES ('version', 1)";
    let sql = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {first}; {version}");
    raw.batch_execute(&sql).await.unwrap();
    let (definition, record) = (pinned("writer"), first_record("old"));
    let sql = "SELECT outcome FROM commit_batch('old', 1, 0, false, $1, $2, 'writer', 'talk', 5, '{0}', '{1}', '{5}',
               ARRAY[$3::text], '{}', '{}', '{}', '{}', '{}', '{}', 'running', NULL, NULL, NULL, NULL, NULL)";
    let text = |text: &str| text.to_owned();
    let row = raw.query_one(sql, &[&text(&definition.hash), &text(&definition.text), &record]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "done");
    let stores = (0..3).map(|_| PostgresStore::connect(&shared().url(), options.clone()));
    for store in futures_util::future::join_all(stores).await {
        let store = store.unwrap();
        assert_eq!(store.check().await.unwrap(), [""; 0]);
        let store = Arc::new(store) as Arc<dyn AnyStore>;
        goes_on_as_new(&store).await;
        assert_eq!(store.renew("old", 1, 50).await, Err(StoreError::Fenced), "nobody has it");
    }
}

#[tokio::test]
async fn many_may_make_the_tables_at_once() {
    let options = options();
    let stores = (0..6).map(|_| PostgresStore::connect(&shared().url(), options.clone()));
    for store in futures_util::future::join_all(stores).await {
        assert_eq!(store.unwrap().check().await.unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn a_check_finds_what_breaks_a_rule() {
    let options = options();
    let store = connect(shared(), &options).await;
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let mut gap = Driver::accept(&any, "gap").await;
    gap.step().await.unwrap();
    Driver::accept(&any, "ended").await.finish().await;
    Driver::accept(&any, "lost").await;
    Driver::accept(&any, "stuck").await.stand(ambidex_core::event::Status::Waiting, Some(5)).await;
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    let schema = &options.schema;
    let sql = format!(
        "SET search_path = {schema};
         DELETE FROM records WHERE seq = 1 AND run = (SELECT no FROM runs WHERE id = 'gap');
         UPDATE runs SET status = 'running' WHERE id = 'ended';
         UPDATE runs SET definition = 99, epoch = 0 WHERE id = 'lost';
         UPDATE runs SET wake = NULL WHERE id = 'stuck';"
    );
    raw().await.batch_execute(&sql).await.unwrap();
    let wrong = store.check().await.unwrap();
    for (part, run) in [
        ("numbered up to 2", "gap"),
        ("has ended, but is running", "ended"),
        ("definition", "lost"),
        ("above its own", "lost"),
        ("nothing can make it go on", "stuck"),
    ] {
        let found = wrong.iter().any(|text| text.contains(part) && text.contains(&format!("`{run}`")));
        assert!(found, "{part}: {wrong:?}");
    }
    assert_eq!(wrong.len(), 5, "{wrong:?}");
}

#[tokio::test]
async fn every_durability_keeps_what_was_flushed() {
    for durability in [Durability::Sync, Durability::Batch, Durability::None] {
        let options = PostgresOptions { durability, ..options() };
        let store = connect(shared(), &options).await;
        let any: Arc<dyn AnyStore> = Arc::new(store.clone());
        Driver::accept(&any, "a").await.step().await.unwrap();
        store.flush().await.unwrap();
        store.close().await;
        let again = connect(shared(), &options).await;
        let again: Arc<dyn AnyStore> = Arc::new(again);
        assert_eq!(again.load("a").await.unwrap().records.len(), 3);
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = connect(shared(), &options()).await;
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let mut driver = Driver::accept(&any, "a").await;
    store.close().await;
    store.close().await;
    assert_eq!(failure(driver.step().await).kind, FailureKind::Closed);
    assert_eq!(failure(any.load("a").await).kind, FailureKind::Closed);
    let lease = Lease { owner: "x".into(), until: 1 };
    assert_eq!(failure(any.claim("a", lease, 1).await).kind, FailureKind::Closed);
}

#[tokio::test]
async fn one_that_breaks_the_transaction_does_not_break_those_in_it() {
    let options = options();
    let store = connect(shared(), &options).await;
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let sql = format!(
        "ALTER TABLE {}.records ADD CONSTRAINT spoilt CHECK (kind NOT LIKE '%2 of r%' OR run % 5 <> 0)",
        options.schema
    );
    raw().await.batch_execute(&sql).await.unwrap();
    one_in_five_fails(&any).await;
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

/// Nobody gets at the tables of a schema for as long as this is there.
async fn locked(schema: &str) -> tokio_postgres::Client {
    let client = raw().await;
    let sql = format!("BEGIN; LOCK TABLE {schema}.runs, {schema}.questions IN ACCESS EXCLUSIVE MODE");
    client.batch_execute(&sql).await.unwrap();
    client
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_had_again() {
    let options = PostgresOptions { answer_timeout: Duration::from_millis(300), ..options() };
    let store = connect(shared(), &options).await;
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let mut driver = Driver::accept(&any, "a").await;
    let lock = locked(&options.schema).await;
    let loaded = failure(any.load("a").await);
    assert_eq!(loaded.kind, FailureKind::Unreachable, "{loaded}");
    assert!(loaded.to_string().contains("no answer within 300ms"), "{loaded}");
    assert_eq!(failure(any.claimable(1, 1).await).kind, FailureKind::Unreachable);
    drop(lock);
    // The lock goes with its connection, a moment later.
    let mut load = any.load("a").await;
    for _ in 0..100 {
        if load.is_ok() {
            break;
        }
        load = any.load("a").await;
    }
    assert_eq!(load.unwrap().records.len(), 1);
    driver.step().await.unwrap();
}

#[tokio::test]
async fn an_answer_is_heard_though_the_look_for_it_failed() {
    let options = PostgresOptions { answer_timeout: Duration::from_millis(300), ..options() };
    let any: Arc<dyn AnyStore> = Arc::new(connect(shared(), &options).await);
    let other: Arc<dyn AnyStore> = Arc::new(connect(shared(), &options).await);
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1"]).await;
    other.answer("a/ask:1", Answer::Approve).await.unwrap();
    // What the server tells of it comes before anybody waits.
    assert_eq!(any.answered("a/ask:1").await, Answer::Approve);
    let lock = locked(&options.schema).await;
    let waiting = tokio::spawn(any.answered("a/ask:1"));
    assert_eq!(failure(any.load("a").await).kind, FailureKind::Unreachable);
    drop(lock);
    let heard = timeout(Duration::from_secs(30), waiting).await;
    assert_eq!(heard.expect("nobody told of it again").unwrap(), Answer::Approve);
}

#[tokio::test]
async fn who_makes_the_tables_of_one_schema_is_not_in_the_way_of_others() {
    let (held, free) = (options(), options());
    let client = raw().await;
    let lock = format!("SELECT pg_advisory_lock(4707175, hashtext('{}'))", held.schema);
    client.batch_execute(&lock).await.unwrap();
    connect(shared(), &free).await.close().await;
    let quick = PostgresOptions { connect_timeout: Duration::from_millis(600), ..held.clone() };
    let failed = failure(PostgresStore::connect(&shared().url(), quick).await.map(drop));
    assert_eq!(failed.kind, FailureKind::Busy, "{failed}");
    drop(client);
    connect(shared(), &held).await.close().await;
}

/// A way to the server that ends, once it is told so, before the first `COMMIT`: as if the process stood still there,
/// with what it had written before on its way.
async fn cut_before_commit(is_cut: watch::Receiver<bool>) -> u16 {
    const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let server = format!("127.0.0.1:{}", shared().port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let server = TcpStream::connect(&server).await.unwrap();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let mut is_cut = is_cut.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while let Ok(1..) = from_client.read_buf(&mut buffer).await {
                    let at = buffer.windows(COMMIT.len()).position(|some| some == COMMIT);
                    if let Some(at) = at.filter(|_| *is_cut.borrow()) {
                        to_server.write_all(&buffer[..at]).await.unwrap();
                        is_cut.wait_for(|is_cut| !is_cut).await.unwrap();
                        buffer.drain(..at);
                    }
                    // The server may have ended it.
                    drop(to_server.write_all(&buffer).await);
                    buffer.clear();
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn one_that_stands_still_within_a_transaction_holds_nobody_up_for_long() {
    let options = options();
    let schema = options.schema.clone();
    let other: Arc<dyn AnyStore> = Arc::new(connect(shared(), &options).await);
    let (cut, is_cut) = watch::channel(false);
    let url = format!("postgres://tests@127.0.0.1:{}/postgres", cut_before_commit(is_cut).await);
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let any: Arc<dyn AnyStore> = Arc::new(store.clone());
    let mut driver = Driver::accept(&any, "a").await;
    cut.send_replace(true);
    let batch = driver.batch(vec![RecordKind::Claimed]);
    let standing = tokio::spawn(any.commit("a", 1, driver.next, batch));
    // Its batch has come, and its `COMMIT` has not: the run is locked.
    let client = raw().await;
    let free = format!("SELECT 1 FROM {schema}.runs WHERE id = 'a' FOR UPDATE SKIP LOCKED");
    while !client.query(&free, &[]).await.unwrap().is_empty() && !standing.is_finished() {}
    // Well before the store would give its server up.
    let taken = timeout(Duration::from_secs(20), driver.taken_over(&other, lease("other", 9), 5)).await;
    let mut taken = taken.expect("it was held up");
    taken.step().await.unwrap();
    cut.send_replace(false);
    assert_eq!(failure(standing.await.unwrap()).kind, FailureKind::Unreachable);
    // It connects again, and hears what happened.
    assert!(matches!(driver.step().await, Err(StoreError::Fenced)));
    assert_eq!(any.load("a").await.unwrap().records.len() as u64, taken.next);
}
