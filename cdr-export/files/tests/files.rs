//! Files of a running system: the stream, octet for octet the same when made again, whole after a kill, and every change found.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../client/tests-support/server.rs"]
#[allow(dead_code, reason = "each program uses its part of it")]
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use server::{Server, said};

const FILES: &str = env!("CARGO_BIN_EXE_ocs-cdr-files");

fn files(server: &Server, arguments: &[&str], folder: &Path) -> Output {
    let mut command = server.command(FILES);
    let flag = if arguments.first() == Some(&"check") { "--in" } else { "--to" };
    command.args(arguments).arg(flag).arg(folder).output().unwrap()
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// A system that has charged something of many kinds.
fn charged() -> Server {
    let server = Server::start(FILES, 20);
    for number in 1..=10 {
        let account = number.to_string();
        assert!(server.change(&["account", "topup", &account, "--amount", "7.50"], &format!("t{number}")));
        assert!(server.change(&["account", "adjust", &account, "--amount=-0.25"], &format!("a{number}")));
    }
    assert!(server.change(&["account", "transfer", "1", "2", "--amount", "1.00"], "g"));
    assert!(server.traffic(2, 800).wait().unwrap().success());
    // What was answered is in the CDR store when the totals say so.
    assert!(server.ask(&["cdr", "totals"]).status.success());
    server
}

/// Names and octets of what is in a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let whole = entries.filter(|path| !path.to_string_lossy().ends_with(".part"));
    whole
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

fn with_ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths.sort();
    paths
}

async fn stream(server: &Server) -> Vec<wire::RatedCdr> {
    let mut client = CdrExportClient::connect(format!("http://{}", server.grpc())).await.unwrap();
    let request = wire::StreamCdrsRequest { from_position: 1, ..Default::default() };
    let mut stream = client.stream_cdrs(request).await.unwrap().into_inner();
    let mut cdrs = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        cdrs.extend(batch.records);
    }
    cdrs
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_stream_and_the_same_when_they_are_made_again() {
    let mut server = charged();
    let (one, again, text) = (server.books("one"), server.books("again"), server.books("text"));
    let most = ["--records", "300"];
    let write = ["write", "--until-end"];
    good(&files(&server, &[&write[..], &most].concat(), &one));
    good(&files(&server, &[&write[..], &most].concat(), &again));
    good(&files(&server, &[&write[..], &most, &["--form", "csv"]].concat(), &text));
    assert_eq!(contents(&one), contents(&again));
    let cdrs = stream(&server).await;
    assert!(cdrs.len() > 700, "{}", cdrs.len());
    assert!(with_ending(&one, ".parquet").len() >= 3);
    // Nothing is left to write.
    assert!(good(&files(&server, &write, &one)).contains("0 CDRs written"));

    // Field by field, as far as they are numbers and names.
    let mut place = 0;
    for path in with_ending(&one, ".parquet") {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let (positions, amounts) = (column("position").as_primitive::<Int64Type>(), column("amount"));
            let (amounts, kinds) = (amounts.as_primitive::<Decimal128Type>(), column("kind").as_string::<i32>());
            let (accounts, moves) =
                (column("account_id").as_primitive::<Int64Type>(), column("movements").as_string::<i32>());
            let used = column("used").as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let cdr: &wire::RatedCdr = &cdrs[place];
                place += 1;
                assert_eq!(u64::try_from(positions.value(row)).unwrap(), cdr.position);
                assert_eq!(u64::try_from(accounts.value(row)).unwrap(), cdr.account_id);
                assert_eq!(amounts.value(row), i128::from(cdr.amount.as_ref().unwrap().mantissa));
                assert_eq!(format!("CDR_KIND_{}", kinds.value(row).to_uppercase()), cdr.kind().as_str_name());
                let rating = cdr.rating.as_ref();
                assert_eq!(arrow_array::Array::is_null(used, row), rating.is_none());
                assert!(rating.is_none_or(|it| u64::try_from(used.value(row)).unwrap() == it.used));
                let list: serde_json::Value = if cdr.movements.is_empty() {
                    serde_json::json!([])
                } else {
                    serde_json::from_str(moves.value(row)).unwrap()
                };
                let deltas: Vec<i64> =
                    list.as_array().unwrap().iter().map(|it| it["delta"].as_i64().unwrap()).collect();
                assert_eq!(deltas, cdr.movements.iter().map(|it| it.delta).collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(place, cdrs.len());
    let lines: usize =
        with_ending(&text, ".csv").iter().map(|path| std::fs::read_to_string(path).unwrap().lines().count() - 1).sum();
    assert_eq!(lines, cdrs.len());
    for folder in [&one, &text] {
        let words = good(&files(&server, &["check", "--compare"], folder));
        assert!(words.contains("agree with the control totals"), "{words}");
    }

    // What names people can be left out: no number of a subscriber is anywhere in it.
    let nameless = server.books("nameless");
    good(&files(&server, &[&write[..], &["--form", "csv", "--without-identities"]].concat(), &nameless));
    let all = contents(&nameless).into_values().map(|octets| String::from_utf8(octets).unwrap()).collect::<String>();
    assert!(
        !all.contains("49170000000")
            && contents(&text).values().any(|it| String::from_utf8_lossy(it).contains("49170000000"))
    );
    server.stop_and_audit();
}

#[test]
fn a_kill_leaves_nothing_half_and_what_is_changed_is_named() {
    let server = charged();
    let (killed, whole) = (server.books("killed"), server.books("whole"));
    let how = ["--records", "50", "--form", "csv", "--until-end"];
    good(&files(&server, &[&["write"][..], &how].concat(), &whole));
    // Killed again and again; each time it goes on.
    for round in 0..8u64 {
        let mut command = server.command(FILES);
        command.arg("write").args(how).arg("--to").arg(&killed);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + 9 * round));
        let _ = child.kill();
        child.wait().unwrap();
    }
    good(&files(&server, &[&["write"][..], &how].concat(), &killed));
    assert_eq!(contents(&killed), contents(&whole));

    let check = |folder: &Path| {
        let output = files(&server, &["check"], folder);
        (output.status.code(), said(&output))
    };
    assert_eq!(check(&killed).0, Some(0));
    // One octet.
    let file = &with_ending(&killed, ".csv")[1];
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let good_octets = std::fs::read(file).unwrap();
    let mut octets = good_octets.clone();
    octets[500] ^= 1;
    std::fs::write(file, &octets).unwrap();
    let (code, words) = check(&killed);
    assert!(code == Some(1) && words.contains(&format!("{name}: is not what was written")), "{words}");
    std::fs::write(file, &good_octets).unwrap();
    // A file, and a manifest, that are gone.
    let manifest = &with_ending(&killed, "manifest.json")[2];
    std::fs::remove_file(manifest).unwrap();
    let (code, words) = check(&killed);
    assert!(code == Some(1) && words.contains("was due"), "{words}");
    std::fs::remove_file(file).unwrap();
    let (code, words) = check(&killed);
    assert!(code == Some(1) && words.contains(&format!("{name}: is gone")), "{words}");
}

#[test]
fn a_target_that_disappears_or_is_full_is_named_and_gone_on_with() {
    let server = charged();
    let folder = server.books("files");
    let write = ["write", "--until-end", "--records", "50", "--form", "csv"];
    // Where a folder cannot be.
    let file = server.books("file");
    std::fs::write(&file, "").unwrap();
    let output = files(&server, &write, &file.join("below"));
    assert!(output.status.code() == Some(2) && said(&output).contains("making the folder"), "{}", said(&output));
    // Room for one file and no more: then more.
    let limited = server
        .command("bash")
        .args(["-c", "ulimit -f 24; trap '' XFSZ; exec \"$@\"", "-"])
        .arg(FILES)
        .args(["write", "--until-end", "--records", "1000", "--form", "csv", "--to"])
        .arg(&folder)
        .output()
        .unwrap();
    let words = said(&limited);
    assert!(limited.status.code() == Some(2) && words.contains("File too large"), "{words}");
    good(&files(&server, &write, &folder));
    // Taken away between two files.
    std::fs::remove_dir_all(&folder).unwrap();
    good(&files(&server, &write, &folder));
    assert!(good(&files(&server, &["check", "--compare"], &folder)).contains("agree"));
    // Something else under the name of a file that is to be written: nothing is overwritten.
    let other = server.books("other");
    std::fs::create_dir_all(&other).unwrap();
    let name = with_ending(&folder, ".csv")[0].file_name().unwrap().to_owned();
    std::fs::write(other.join(&name), "mine").unwrap();
    let output = files(&server, &write, &other);
    assert!(output.status.code() == Some(2) && said(&output).contains("move it away"), "{}", said(&output));
    assert_eq!(std::fs::read(other.join(&name)).unwrap(), b"mine");
    // A position that was never issued.
    let output = files(&server, &["write", "--from", "999999", "--until", "1000000"], &server.books("far"));
    assert!(output.status.code() == Some(2) && said(&output).contains("999999"), "{}", said(&output));
}
