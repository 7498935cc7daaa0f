//! Channel: a bounded queue whose senders and receivers wait, threads and tasks alike.

use mainstay::channel;
use std::thread;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, receiver) = channel(16);

    // A thread sends and blocks while the channel is full; a task receives and waits.
    let producer = thread::spawn(move || {
        for n in 1..=100 {
            sender.send_blocking(n).expect("the receiver lives");
        }
    });
    let mut sum = 0;
    while let Ok(n) = receiver.recv().await {
        sum += n;
    }
    producer.join().expect("the producer does not panic");
    println!("received numbers with the sum {sum}; the channel closed with its last sender");
    assert_eq!(sum, 5050);

    // Batches: one wake-up and one claim for many items.
    let (sender, receiver) = channel(256);
    let mut items = (0..200).collect::<Vec<_>>().into_iter();
    sender.send_batch(&mut items).await.expect("the receiver lives");
    let mut received = Vec::new();
    while received.len() < 200 {
        receiver.recv_batch(&mut received, 64).await.expect("the sender lives");
    }
    println!("received {} items in batches of at most 64", received.len());
}
