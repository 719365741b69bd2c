//! Records of vouchers, approvals, re-ratings, charging groups and dossiers of catalogue documents: what is read back is what was written,
//! damage is refused, and the octets that exist on disks stay readable.

#![cfg(test)]

use balance_store::records::{
    Approval, BatchState, CanaryStep, Credited, Decision, Deed, Dossier, Fate, GroupWords, RecordError, Rerating,
    ReratingPlan, ReratingState, Tries, Voucher, VoucherBatch, decode_approval, decode_dossier, decode_group,
    decode_rerating, decode_tries, decode_voucher, decode_voucher_batch, encode_approval, encode_dossier, encode_group,
    encode_rerating, encode_tries, encode_voucher, encode_voucher_batch,
};
use proptest::prelude::*;
use rating_engine::account::{Bucket, Holding, Origin};
use rating_engine::command::{Change, Ending, Request};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, SubscriberId, TariffName, TenantId,
};
use rating_engine::money::{Currency, Money};
use rating_engine::reach::Share;
use rating_engine::time::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

fn batch(state: BatchState, valid_seconds: Option<u64>) -> VoucherBatch {
    VoucherBatch {
        name: "summer-27".into(),
        tenant: TenantId::new(2),
        state,
        count: 5000,
        used: 17,
        amount: Money::from_micros(10_000_000),
        currency: Currency::EUR,
        bucket: BucketId::new("main"),
        origin: Origin::Granted,
        priority: 100,
        valid_seconds,
        expires: at(86_400),
        made: at(0),
        made_by: "anna".into(),
        key_check: *b"checked!",
    }
}

fn vouchers() -> [Voucher; 3] {
    let used = Fate::Used { tenant: TenantId::new(2), account: AccountId::new(1001), at: at(5) };
    [Fate::Open, used, Fate::Blocked { at: at(6) }].map(|fate| Voucher { batch: 3, serial: 4711, fate })
}

fn tries() -> Tries {
    Tries { locked_until: at(3600), wrong: vec![(at(1), [1; 16]), (at(2), [0xFF; 16])] }
}

fn bucket() -> Bucket {
    Bucket {
        id: BucketId::new("promo"),
        holding: Holding::Money,
        origin: Origin::Paid,
        balance: 0,
        reserved: 0,
        priority: 7,
        valid_from: Timestamp::default(),
        valid_to: at(86_400),
        scope: None,
        terms: None,
    }
}

fn approvals() -> [Approval; 3] {
    let (account, amount) = (AccountId::new(1001), Money::from_micros(200_000_000));
    let pending = Approval {
        group: GroupId::new(77),
        tenant: TenantId::new(2),
        currency: Currency::EUR,
        method: "Accounts/TopUp".into(),
        asked_by: "anna".into(),
        asked: at(0),
        expires: at(7 * 86_400),
        request: Request {
            key: IdempotencyKey::new("key-1"),
            digest: 0xFEDC_BA98_7654_3210,
            reason: "goodwill".into(),
        },
        credit: Credited::TopUp { account, amount, bucket: Box::new(bucket()) },
        decision: Decision::Pending,
    };
    let approved = Approval {
        credit: Credited::Adjust { account, amount, bucket: BucketId::new("main") },
        decision: Decision::Approved { by: "ben".into(), at: at(9) },
        ..pending.clone()
    };
    let rejected = Approval {
        credit: Credited::Limit { account, limit: amount },
        decision: Decision::Rejected { by: "ben".into(), at: at(9) },
        ..pending.clone()
    };
    [pending, approved, rejected]
}

fn reratings() -> [Rerating; 3] {
    let planning = Rerating {
        tariff: TariffName::new("gold"),
        from: at(0),
        to: at(86_400),
        account: None,
        asked_by: "anna".into(),
        asked: at(90_000),
        key: IdempotencyKey::new("march"),
        digest: 0xFEDC_BA98_7654_3210,
        reason: "wrong price".into(),
        state: ReratingState::Planning,
        plan: None,
        approved: None,
        dealt_with: 0,
        booked: 0,
        left: Vec::new(),
    };
    let plan = ReratingPlan {
        through: CdrPosition::new(1_000_000),
        corrections: 600,
        digest: [0xA5; 32],
        sums: vec![(Currency::EUR, Money::from_micros(1), Money::from_micros(60_960_000))],
        unpriced: 1,
    };
    let running = Rerating {
        account: Some(AccountId::new(1001)),
        state: ReratingState::Running,
        plan: Some(plan),
        approved: Some(("ben".into(), at(90_060))),
        dealt_with: 256,
        booked: 255,
        left: vec![(CdrPosition::new(17), "it was refunded".into())],
        ..planning.clone()
    };
    let failed = Rerating { state: ReratingState::Failed { reason: "a disk".into() }, ..running.clone() };
    [planning, running, failed]
}

fn words() -> GroupWords {
    GroupWords { display_name: "Müller family".into(), external_id: "HOUSE-7".into() }
}

/// Published for everybody; and for 5 % and one by name, then for all.
fn dossiers() -> [Dossier; 2] {
    let deed = |who: &str, seconds| Deed { who: who.into(), at: at(seconds) };
    let plain = Dossier {
        source: None,
        drafted: Some(deed("anna", 0)),
        approved: Some(deed("ben", 1)),
        scheduled: None,
        published: Some(deed("carl", 2)),
        withdrawn: None,
        failure: "".into(),
        canary: Vec::new(),
    };
    let share = |basis_points| Share::new(basis_points).unwrap();
    let first = CanaryStep { said: deed("carl", 2), share: share(500), named: vec![SubscriberId::new(7001)] };
    let last = CanaryStep { said: deed("carl", 3), share: Share::WHOLE, named: Vec::new() };
    [plain.clone(), Dossier { canary: vec![first, last], ..plain }]
}

fn octets(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Whole, it is what was written; cut anywhere, with something behind it or of a later format, it is refused.
fn reads<T: PartialEq + std::fmt::Debug>(value: &T, octets: &[u8], read: impl Fn(&[u8]) -> Result<T, RecordError>) {
    assert_eq!(read(octets).as_ref(), Ok(value));
    for end in 0..octets.len() {
        assert!(read(&octets[..end]).is_err(), "cut at {end}: {value:?}");
    }
    assert!(read(&[octets, &[0]].concat()).is_err());
    let later = [&[octets[0] + 1], &octets[1..]].concat();
    assert!(read(&later).is_err());
}

#[test]
fn what_was_written_is_read_back_and_nothing_else() {
    for state in [BatchState::Made, BatchState::Active, BatchState::Blocked] {
        for valid_seconds in [None, Some(0), Some(u64::MAX)] {
            let batch = batch(state, valid_seconds);
            reads(&batch, &octets(|out| encode_voucher_batch(out, &batch)), decode_voucher_batch);
        }
    }
    for voucher in vouchers() {
        reads(&voucher, &octets(|out| encode_voucher(out, &voucher)), decode_voucher);
    }
    for tries in [tries(), Tries::default()] {
        reads(&tries, &octets(|out| encode_tries(out, &tries)), decode_tries);
    }
    for dossier in dossiers() {
        reads(&dossier, &octets(|out| encode_dossier(out, &dossier)), decode_dossier);
    }
    for approval in approvals() {
        reads(&approval, &octets(|out| encode_approval(out, &approval)), decode_approval);
    }
    for rerating in reratings() {
        reads(&rerating, &octets(|out| encode_rerating(out, &rerating)), decode_rerating);
    }
    for words in [words(), GroupWords::default()] {
        reads(&words, &octets(|out| encode_group(out, &words)), decode_group);
    }
}

/// What is held back is what is done: the change and the key that were asked for.
#[test]
fn what_is_held_back_is_what_was_asked_for() {
    for approval in approvals() {
        let mutation = approval.mutation();
        assert_eq!(mutation.request, Some(approval.request));
        assert_eq!(Credited::of(&mutation.change), Some(approval.credit));
    }
    let account = AccountId::new(1);
    let adjust = |holding, amount| Change::Adjust { account, bucket: BucketId::new("b"), holding, amount };
    assert_eq!(Credited::of(&adjust(Holding::Money, -1)), None);
    assert_eq!(Credited::of(&Change::Cancel { account, subscription: 1, ending: Ending::WithCycle }), None);
}

/// Octets that exist on disks: when this fails, the format has changed and needs a new version.
#[test]
fn the_format_is_frozen() {
    let [open, used, blocked] = vouchers();
    let [pending, approved, rejected] = approvals();
    let [plain, canary] = dossiers();
    for (name, written, frozen) in [
        ("batch", octets(|out| encode_voucher_batch(out, &batch(BatchState::Active, Some(3600)))), BATCH),
        ("voucher", octets(|out| encode_voucher(out, &open)), OPEN),
        ("used voucher", octets(|out| encode_voucher(out, &used)), USED),
        ("blocked voucher", octets(|out| encode_voucher(out, &blocked)), BLOCKED),
        ("tries", octets(|out| encode_tries(out, &tries())), TRIES),
        ("approval", octets(|out| encode_approval(out, &pending)), PENDING),
        ("approved", octets(|out| encode_approval(out, &approved)), APPROVED),
        ("rejected", octets(|out| encode_approval(out, &rejected)), REJECTED),
        ("re-rating", octets(|out| encode_rerating(out, &reratings()[1])), RERATING),
        ("group", octets(|out| encode_group(out, &words())), GROUP),
        // As it was written before there were canaries.
        ("dossier", octets(|out| encode_dossier(out, &plain)), DOSSIER),
        ("dossier of a canary", octets(|out| encode_dossier(out, &canary)), CANARY),
    ] {
        assert_eq!(hex(&written), frozen, "{name}");
    }
}

/// A share of more than all is no share: 0x904e is 10,000, 0x914e 10,001.
#[test]
fn a_share_beyond_the_whole_is_damage() {
    let beyond = CANARY.replace("904e", "914e");
    assert_ne!(beyond, CANARY);
    let octets: Vec<u8> =
        (0..beyond.len() / 2).map(|at| u8::from_str_radix(&beyond[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(decode_dossier(&octets).is_err());
}

proptest! {
    #[test]
    fn any_octets_are_refused_or_read_as_something(mut octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        octets.insert(0, 1);
        let _ = decode_voucher_batch(&octets);
        let _ = decode_voucher(&octets);
        let _ = decode_tries(&octets);
        let _ = decode_approval(&octets);
        let _ = decode_rerating(&octets);
        let _ = decode_group(&octets);
        let _ = decode_dossier(&octets);
    }
}

const BATCH: &str = "01010973756d6d65722d32370288271180dac409455552046d61696e016401901c82b095d8e36882c0e285e36804616e6e61636865636b656421";
const OPEN: &str = "0103e72400";
const USED: &str = "0103e7240102e907928ee385e368";
const BLOCKED: &str = "0103e72402e29de385e368";
const TRIES: &str =
    "0182fa9989e36802d2cfe285e36801010101010101010101010101010101a2dfe285e368ffffffffffffffffffffffffffffffff";
const PENDING: &str = "014d024555520e4163636f756e74732f546f70557004616e6e6182c0e285e36882d0c6c6e768056b65792d31fedcba987654321008676f6f6477696c6c00e9078088debe010570726f6d6f0000070282b095d8e36800";
const APPROVED: &str = "014d024555520e4163636f756e74732f546f70557004616e6e6182c0e285e36882d0c6c6e768056b65792d31fedcba987654321008676f6f6477696c6c01e9078088debe01046d61696e010362656ed2cce385e368";
const GROUP: &str = "010e4dc3bc6c6c65722066616d696c7907484f5553452d37";
const REJECTED: &str = "014d024555520e4163636f756e74732f546f70557004616e6e6182c0e285e36882d0c6c6e768056b65792d31fedcba987654321008676f6f6477696c6c02e9078088debe01020362656ed2cce385e368";
const RERATING: &str = "010704676f6c6482c0e285e36882b095d8e368e90704616e6e6182eaccdbe368056d61726368fedcba98765432100b77726f6e6720707269636502c0843dd804a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5014555520280b4913a010362656ec293d4dbe3688002ff0101110f69742077617320726566756e646564";
const DOSSIER: &str = "011604616e6e6182c0e285e3680362656ed2cfe285e368046361726ca2dfe285e36800";
const CANARY: &str = "015604616e6e6182c0e285e3680362656ed2cfe285e368046361726ca2dfe285e3680002046361726ca2dfe285e368f40301d936046361726cf2eee285e368904e00";
