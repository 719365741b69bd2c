//! No answer before the durable mark, none after its deadline; the base protocol waits for neither.

mod support;

use std::time::Duration;

use diameter::CommandCode;
use support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn answers_wait_for_the_mark_and_a_watchdog_answer_passes_them() {
    let world = World::with(config(), |id| (u64::from(id), None));
    let mut stream = world.open("a").await;
    let requests: Vec<u8> = (1..=3).flat_map(|id| numbered(&ccr(), id)).collect();
    stream.write_all(&requests).await.unwrap();
    eventually("all handled", || world.stats.requests.get() == 3).await;
    stream.write_all(&dwr("a")).await.unwrap();
    assert_eq!(command(&read_message(&mut stream).await), CommandCode::DEVICE_WATCHDOG);

    world.mark.send_replace(2);
    assert_eq!(id(&read_message(&mut stream).await), 1);
    assert_eq!(id(&read_message(&mut stream).await), 2);
    let early = tokio::time::timeout(Duration::from_millis(20), stream.peek(&mut [0])).await;
    assert!(early.is_err(), "the third answer is not durable yet");
    world.mark.send_replace(9);
    assert_eq!(id(&read_message(&mut stream).await), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_ever_overtakes_the_mark() {
    const REQUESTS: u32 = 20_000;
    let world = World::with(config(), |id| (u64::from(id), None));
    let (mut sender, mut receiver) = world.client("a").await.split();
    let asking = tokio::spawn(async move {
        let request = ccr();
        for turn in 0..REQUESTS / 100 {
            for _ in 0..100 {
                sender.queue(&request);
            }
            sender.flush().await.unwrap();
            if turn % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let (mark, stats) = (world.mark.clone(), world.stats.clone());
    let committing = tokio::spawn(async move {
        // Always a little behind.
        while *mark.borrow() < u64::from(REQUESTS) {
            let handled = stats.requests.get();
            let last = handled == u64::from(REQUESTS);
            mark.send_replace(if last { handled } else { handled - handled % 64 });
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let mut next = 1;
    while next <= REQUESTS {
        receiver
            .read(|answer, _| {
                assert_eq!(answer.header().hop_by_hop, next);
                assert!(*world.mark.borrow() >= u64::from(next), "{next} is not durable");
                next += 1;
            })
            .await
            .unwrap();
    }
    asking.await.unwrap();
    committing.await.unwrap();
}

#[tokio::test]
async fn a_late_answer_is_dropped_and_the_others_are_not() {
    let world = World::with(config(), |id| (1, (id == 2).then_some(Duration::from_millis(1))));
    let mut stream = world.open("a").await;
    let requests: Vec<u8> = (1..=3).flat_map(|id| numbered(&ccr(), id)).collect();
    stream.write_all(&requests).await.unwrap();
    eventually("all handled", || world.stats.requests.get() == 3).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.mark.send_replace(1);
    assert_eq!(id(&read_message(&mut stream).await), 1);
    assert_eq!(id(&read_message(&mut stream).await), 3);
    assert_eq!((world.stats.answers.get(), world.stats.answers_dropped_late.get()), (2, 1));
}

#[tokio::test]
async fn nothing_is_read_beyond_what_may_wait() {
    let mut config = config();
    config.limits.pending_answers_max = 10;
    let world = World::with(config, |id| (u64::from(id), None));
    let mut stream = world.open("a").await;
    let requests: Vec<u8> = (1..=100).flat_map(|id| numbered(&ccr(), id)).collect();
    stream.write_all(&requests).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.stats.requests.get(), 10);
    world.mark.send_replace(5);
    for expected in 1..=5 {
        assert_eq!(id(&read_message(&mut stream).await), expected);
    }
    eventually("five more", || world.stats.requests.get() == 15).await;
    world.mark.send_replace(100);
    for expected in 6..=100 {
        assert_eq!(id(&read_message(&mut stream).await), expected);
    }
}

#[tokio::test]
async fn when_the_log_ends_nothing_more_is_answered() {
    let world = World::with(config(), |_| (1, None));
    let mut stream = world.open("a").await;
    stream.write_all(&ccr()).await.unwrap();
    eventually("handled", || world.stats.requests.get() == 1).await;
    let (stats, handler) = (world.stats.clone(), world.handler.clone());
    let _server = world.lose_mark();
    assert!(closes(&mut stream).await);
    assert_eq!((stats.answers.get(), stats.answers_dropped_closed.get()), (0, 1));
    assert_eq!(handler.events(), ["a opened", "a closed: the log has ended"]);
}
