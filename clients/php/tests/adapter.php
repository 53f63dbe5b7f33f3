<?php

declare(strict_types=1);

// Lets a program in another language hold a conversation through this library: tests/dialogues.
//
// It is told one JSON per line on standard input, and tells one per line on standard output:
//
//   {"do":"connect","url":"wss://localhost:8083/php","headers":{"Ident":"a"},"cafile":"dev-cert.pem"}
//   {"do":"send","text":"..."}     the text is one message, byte for byte, valid or not
//   {"do":"close","code":1000}     without a code: a Close frame without one
//
//   {"event":"open"}
//   {"event":"message","text":"..."}
//   {"event":"closed","code":1000}     1005: a Close frame without one; 1006: no Close frame; null on
//                                      tcp and ssl
//   {"event":"error","message":"..."}  no connection; or a line that makes no sense
//
// "cafile" may also come from the environment (RELAY_CAFILE); "verify":false trusts any certificate.
// It ends when standard input does.

use Relay\Connection;
use Relay\Deadline;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidOption;
use Relay\Exception\RelayException;
use Relay\Options;
use Relay\Url;

require __DIR__ . '/../autoload.php';

/** @param array<string, mixed> $event */
function tell(array $event): void
{
    fwrite(STDOUT, json_encode($event, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES) . "\n");
}

/** @param array<string, mixed> $order */
function perform(array $order, ?Connection $connection, ?int &$abnormal): ?Connection
{
    switch ($order['do'] ?? null) {
        case 'connect':
            $connection?->abort();
            $options = new Options(
                headers: $order['headers'] ?? [],
                cafile: $order['cafile'] ?? (getenv('RELAY_CAFILE') ?: null),
                verify: $order['verify'] ?? true,
            );
            $connection = Connection::open($order['url'], $options);
            $abnormal = Url::parse($order['url'])->isWebSocket() ? 1006 : null;
            tell(['event' => 'open']);
            return $connection;
        case 'send':
            $connection?->send($order['text'], Deadline::in(10));
            return $connection;
        case 'close':
            $connection?->finish($order['code'] ?? null);
            return $connection;
    }
    throw new InvalidOption('unknown: ' . json_encode($order));
}

/** Tells what has come. Returns the connection while it lasts. */
function report(Connection $connection, ?int $abnormal): ?Connection
{
    try {
        while (($text = $connection->receive(Deadline::in(0))) !== null) {
            tell(['event' => 'message', 'text' => $text]);
        }
        return $connection;
    } catch (ConnectionLost $lost) {
        tell(['event' => 'closed', 'code' => $lost->closeCode ?? $abnormal]);
        return null;
    }
}

stream_set_blocking(STDIN, false);
$connection = null;
$abnormal = null;
$input = '';
while (true) {
    $read = $connection === null ? [STDIN] : [STDIN, $connection->stream()];
    $none = null;
    stream_select($read, $none, $none, null);
    // Both in each turn: only the library knows what lies in its buffers.
    $bytes = (string) fread(STDIN, 65_536);
    if ($bytes === '' && feof(STDIN)) {
        exit(0);
    }
    $input .= $bytes;
    while (($end = strpos($input, "\n")) !== false) {
        $line = substr($input, 0, $end);
        $input = substr($input, $end + 1);
        try {
            $connection = perform(json_decode($line, true, 16, JSON_THROW_ON_ERROR), $connection, $abnormal);
        } catch (ConnectionLost) {
            // The next look at the connection tells.
        } catch (RelayException | JsonException $error) {
            tell(['event' => 'error', 'message' => $error->getMessage()]);
        }
    }
    $connection = $connection === null ? null : report($connection, $abnormal);
}
