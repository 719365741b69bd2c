//! What every state store promises, whatever stands behind it.

use balance_store::{Family, KeyRange, Lsn, MemoryState, RocksOptions, RocksState, StateStore, StateWrite};

fn over_all(contract: impl Fn(&dyn StateStore)) {
    contract(&MemoryState::new());
    let folder = tempfile::tempdir().unwrap();
    contract(&RocksState::open(folder.path(), RocksOptions::default()).unwrap());
}

fn put<'a>(family: Family, key: &'a [u8], value: &'a [u8]) -> StateWrite<'a> {
    StateWrite { family, key, value: Some(value) }
}

fn all(state: &dyn StateStore, family: Family, range: &KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    state.load(family, range, &mut |key, value| records.push((key.to_vec(), value.to_vec()))).unwrap();
    records
}

#[test]
fn families_have_their_own_keys_and_are_loaded_in_key_order() {
    over_all(|state| {
        let a = Family::Accounts;
        state.write(&[put(a, b"2", b"two"), put(a, b"1", b"one"), put(Family::Sessions, b"1", b"other")]).unwrap();
        assert_eq!(all(state, a, &KeyRange::ALL), [(b"1".to_vec(), b"one".to_vec()), (b"2".to_vec(), b"two".to_vec())]);
        assert_eq!(state.get(Family::Sessions, b"1").unwrap().as_deref(), Some(b"other".as_slice()));
        assert_eq!(state.get(Family::Subscribers, b"1").unwrap(), None);
        for family in Family::ALL {
            state.write(&[put(family, b"k", family.name().as_bytes())]).unwrap();
        }
        for family in Family::ALL {
            assert_eq!(state.get(family, b"k").unwrap().as_deref(), Some(family.name().as_bytes()));
        }
    });
}

#[test]
fn later_writes_of_one_batch_win_and_deletions_delete() {
    over_all(|state| {
        let delete = StateWrite { family: Family::Accounts, key: b"gone", value: None };
        state.write(&[put(Family::Accounts, b"gone", b"1"), put(Family::Accounts, b"kept", b"1")]).unwrap();
        state.write(&[put(Family::Accounts, b"kept", b"2"), delete, put(Family::Accounts, b"kept", b"3")]).unwrap();
        assert_eq!(all(state, Family::Accounts, &KeyRange::ALL), [(b"kept".to_vec(), b"3".to_vec())]);
    });
}

#[test]
fn ranges_together_load_every_record_once() {
    over_all(|state| {
        assert_eq!(state.ranges(Family::Accounts, 4).unwrap(), [KeyRange::ALL]);
        let keys: Vec<[u8; 8]> = (1000..2000u64).map(u64::to_be_bytes).collect();
        let writes: Vec<_> = keys.iter().map(|key| put(Family::Accounts, key, key)).collect();
        state.write(&writes).unwrap();
        let ranges = state.ranges(Family::Accounts, 4).unwrap();
        assert_eq!(ranges.len(), 4);
        let loaded: Vec<_> = ranges.iter().flat_map(|range| all(state, Family::Accounts, range)).collect();
        assert_eq!(loaded.len(), 1000);
        assert!(loaded.iter().map(|(key, _)| key.as_slice()).eq(keys.iter().map(<[u8; 8]>::as_slice)));
        let some = KeyRange { from: Some(keys[10].to_vec()), to: Some(keys[20].to_vec()) };
        assert_eq!(all(state, Family::Accounts, &some).len(), 10);
    });
}

#[test]
fn a_checkpoint_is_remembered_and_is_nobodys_record() {
    over_all(|state| {
        assert_eq!(state.checkpoint_lsn().unwrap(), Lsn::new(0));
        state.write(&[put(Family::Meta, b"mine", b"1")]).unwrap();
        state.checkpoint(Lsn::new(42)).unwrap();
        assert_eq!(state.checkpoint_lsn().unwrap(), Lsn::new(42));
        assert_eq!(all(state, Family::Meta, &KeyRange::ALL), [(b"mine".to_vec(), b"1".to_vec())]);
    });
}

/// The process dies without closing the database: what was checkpointed is there.
#[test]
fn what_was_checkpointed_survives_a_kill_together_with_its_lsn() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let state = RocksState::open(folder.path(), RocksOptions::default()).unwrap();
    for round in 1..=3u64 {
        state
            .write(&[
                put(Family::Accounts, b"a", &round.to_be_bytes()),
                put(Family::Sessions, b"s", &round.to_be_bytes()),
            ])
            .unwrap();
        state.checkpoint(Lsn::new(round)).unwrap();
    }
    state.write(&[put(Family::Accounts, b"a", b"not checkpointed")]).unwrap();
    // The files as a kill would leave them, before the database is closed.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "LOCK" {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    let after = RocksState::open(copy.path(), RocksOptions::default()).unwrap();
    assert_eq!(after.checkpoint_lsn().unwrap(), Lsn::new(3));
    for (family, key) in [(Family::Accounts, b"a"), (Family::Sessions, b"s")] {
        assert_eq!(after.get(family, key).unwrap().as_deref(), Some(3u64.to_be_bytes().as_slice()));
    }
}

#[test]
fn a_second_opener_is_refused_with_the_folder_named() {
    let folder = tempfile::tempdir().unwrap();
    let _first = RocksState::open(folder.path(), RocksOptions::default()).unwrap();
    let refusal = RocksState::open(folder.path(), RocksOptions::default()).unwrap_err().to_string();
    assert!(refusal.contains(&folder.path().display().to_string()), "{refusal}");
}
