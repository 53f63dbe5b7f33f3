<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidMessage;
use Relay\Exception\InvalidOption;
use Relay\Exception\ProtocolError;
use Relay\Exception\Refused;
use Relay\Exception\RelayException;
use Relay\Exception\Step;
use Relay\Exception\Timeout;

/**
 * A backend of a relay: reports to pages, talks to other backends, and is reached by its name.
 *
 * It connects when it is first used. A call returns when the relay has taken the message, or throws
 * a RelayException. When the connection is gone, the next call makes a new one; what was being sent
 * as it broke is not sent again, for the relay may have taken it.
 */
final class Client implements Sender
{
    /** Seconds, where the options say nothing. */
    private const CONNECT_TIMEOUT = 5.0;
    private const TIMEOUT = 5.0;
    /** No JSON, so it is acked and dropped; by its brackets, a raw stream knows at once that it is whole. */
    private const PROBE = '{ping}';
    /** So much may wait for receive(). Who never calls it would else fill the memory with it. */
    private const INBOX_MESSAGES_MAX = 4096;
    private const INBOX_BYTES_MAX = 67_108_864;

    private readonly Url $url;
    private readonly Options $options;
    private ?Connection $connection = null;
    private ?string $uuid = null;
    /** Why the relay ends the connection, as it says before it does. */
    private ?string $farewell = null;
    /** @var list<array{array<mixed>|Refused, int}> what came and is for receive(), with its length */
    private array $inbox = [];
    private int $inboxBytes = 0;

    /**
     * @param string $url such as tcp://127.0.0.1:8083 or wss://example.org/relay
     *
     * @throws InvalidOption
     */
    public function __construct(string $url, ?Options $options = null)
    {
        $this->url = Url::parse($url);
        $this->options = ($options ?? new Options())->withTimeouts(self::CONNECT_TIMEOUT, self::TIMEOUT);
    }

    /**
     * A client that never throws, for pages that have to work without a relay: see QuietClient.
     *
     * @param ?callable(string, string, array<string, mixed>): mixed $report
     */
    public static function quiet(
        string $url,
        ?Options $options = null,
        ?callable $report = null,
        float $pause = 10.0,
    ): QuietClient {
        return new QuietClient($url, $options, $report, $pause);
    }

    /**
     * Connects now, if it is not. Useful to fail early, and for a name, which is reached only while
     * it is connected.
     *
     * @throws ConnectionFailed
     * @throws Refused somebody else has the name (reason `ident_taken`); nothing was sent. Relays tell
     *     so over tcp and ssl alone.
     */
    public function connect(): static
    {
        if ($this->connection !== null && !$this->connection->isAlive()) {
            $this->salvage();
            $this->drop();
        }
        if ($this->connection === null) {
            $deadline = Deadline::in($this->options->connectTimeout);
            $this->farewell = null;
            $connection = Connection::open($this->url, $this->options, $deadline);
            try {
                $uuid = $this->ready($connection->receive($deadline));
                if ($this->options->ident !== null && !$this->url->isWebSocket()) {
                    $this->claim($connection, $deadline);
                }
                [$this->connection, $this->uuid] = [$connection, $uuid];
            } catch (ConnectionLost | Timeout $lost) {
                throw new ConnectionFailed(Step::Handshake, "no ready from $this->url: " . $lost->getMessage(), $lost);
            } finally {
                if ($this->connection === null) {
                    $connection->abort();
                }
            }
        }
        return $this;
    }

    /**
     * The uuid that the relay issued to this connection. It is no address: a backend is reached by its
     * name.
     *
     * @throws ConnectionFailed
     */
    public function uuid(): string
    {
        $this->connect();
        return (string) $this->uuid;
    }

    /**
     * Whether there is a connection that has not ended, as far as is known now.
     */
    public function isConnected(): bool
    {
        return $this->connection !== null && $this->connection->isAlive();
    }

    /**
     * {@inheritDoc}
     *
     * @throws ConnectionFailed nothing was sent
     * @throws ConnectionLost it may have been taken
     * @throws Timeout it may have been taken
     * @throws InvalidMessage nothing was sent
     */
    public function send(array|string $message): bool
    {
        $this->exchange(Message::encode($message, $this->options->messageBytesMax));
        return true;
    }

    /**
     * {@inheritDoc}
     *
     * @throws RelayException as send()
     */
    public function feedback(string $uuid, array|string $message): bool
    {
        self::named('uuid', $uuid);
        return $this->send(Message::addressed(['opcode' => 'feedback', 'uuid' => $uuid], $message));
    }

    /**
     * {@inheritDoc}
     *
     * @throws RelayException as send()
     */
    public function feedbackIdent(string $ident, array|string $message): bool
    {
        self::named('ident', $ident);
        // A field of this name would be the address in place of the ident.
        $message = is_string($message) ? $message : array_diff_key($message, ['uuid' => null]);
        return $this->send(Message::addressed(['opcode' => 'feedback', 'ident' => $ident], $message));
    }

    /**
     * {@inheritDoc}
     *
     * @throws RelayException as send()
     */
    public function broadcast(array|string $message): bool
    {
        return $this->send(Message::addressed(['opcode' => 'broadcast'], $message));
    }

    /**
     * {@inheritDoc}
     *
     * @throws RelayException as send()
     */
    public function progress(string $uuid, int|float $percent, string $text = '', array $more = []): bool
    {
        return $this->feedback($uuid, Message::progress($percent, $text, $more));
    }

    /**
     * Waits until the relay has decided everything that was sent, and says whether it refused any of
     * it. send() does not: `next` means taken. Needs the opcode `echo` of the relay's default script.
     *
     * @throws Refused
     * @throws RelayException as send()
     */
    public function confirm(): bool
    {
        $mark = sprintf('{"opcode":"echo","confirm":"%s"}', bin2hex(random_bytes(8)));
        $deadline = $this->exchange($mark);
        do {
            $text = $this->hear($deadline);
            // What comes back is what was sent, byte for byte.
            $this->keep($text === $mark ? null : $text);
        } while ($text !== $mark);
        $this->throwRefusal();
        return true;
    }

    /**
     * The next message for this client: for its name, or from a script of the relay. Null if none
     * has come within so many seconds; without a timeout it waits for ever. 0 only looks.
     *
     * @return array<mixed>|null
     *
     * @throws ConnectionFailed
     * @throws ConnectionLost behind the last message
     * @throws Refused an earlier message of this client was refused
     */
    public function receive(?float $timeout = null): ?array
    {
        $deadline = Deadline::in($timeout);
        if ($this->inbox === [] && $this->connection === null) {
            $this->connect();
        }
        while ($this->inbox === []) {
            try {
                // One that has ended in the meantime is told: messages may have been missed.
                $text = $this->connection?->receive($deadline);
            } catch (ConnectionLost $lost) {
                throw $this->lost($lost);
            }
            if ($text === null) {
                return null;
            }
            $this->keep($text);
        }
        [$first, $bytes] = array_shift($this->inbox);
        $this->inboxBytes -= $bytes;
        return $first instanceof Refused ? throw $first : $first;
    }

    /**
     * The messages for this client as they come; ends when none has come within so many seconds.
     *
     * @return \Generator<int, array<mixed>>
     *
     * @throws RelayException as receive()
     */
    public function messages(?float $timeout = null): \Generator
    {
        while (($message = $this->receive($timeout)) !== null) {
            yield $message;
        }
    }

    /**
     * {@inheritDoc}
     *
     * @throws Refused an earlier message of this client was refused
     * @throws RelayException as send()
     */
    public function quit(): bool
    {
        if ($this->isConnected()) {
            $deadline = $this->exchange('{"opcode":"quit"}');
            try {
                while (true) {
                    $this->keep($this->hear($deadline));
                }
            } catch (ConnectionLost) {
                // This is the goodbye that was asked for.
            }
        }
        $this->close();
        $this->throwRefusal();
        return true;
    }

    /**
     * Ends the connection without waiting for anything. What send() returned for is taken all the
     * same.
     */
    public function close(): void
    {
        $this->connection?->finish();
        $this->drop();
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * Sends a message and waits for its ack. Returns what is left of the call's time.
     */
    private function exchange(string $json): Deadline
    {
        // A new connection in place of one that has ended is no repetition: nothing is out yet.
        $this->connect();
        $deadline = Deadline::in($this->options->timeout);
        try {
            $this->connection?->send($json, $deadline);
        } catch (ConnectionLost $lost) {
            throw $this->lost($lost);
        } catch (Timeout $timeout) {
            $this->drop();
            throw $timeout;
        }
        do {
            $text = $this->hear($deadline);
        } while (!$this->keep($text));
        return $deadline;
    }

    /**
     * The next message, which has to come.
     */
    private function hear(Deadline $deadline): string
    {
        try {
            $text = $this->connection?->receive($deadline);
        } catch (ConnectionLost $lost) {
            throw $this->lost($lost);
        }
        if ($text === null) {
            $this->drop();
            throw new Timeout(sprintf('no answer from %s within %g s', $this->url, $this->options->timeout));
        }
        return $text;
    }

    /**
     * Sorts a message: what is for receive() is kept. Whether it is an ack.
     */
    private function keep(?string $text): bool
    {
        if ($text === null) {
            return false;
        }
        $message = Message::decode($text);
        if ($message === null) {
            $this->drop();
            throw new ProtocolError('a message that is no JSON object');
        }
        switch ($message['opcode'] ?? null) {
            case 'next':
                return true;
            case 'close':
                $why = $message['error'] ?? null;
                $this->farewell = is_string($why) ? $why : null;
                return false;
            case 'error':
                $message = Refused::from($message);
                break;
        }
        $bytes = strlen($text);
        if (count($this->inbox) >= self::INBOX_MESSAGES_MAX || $this->inboxBytes + $bytes > self::INBOX_BYTES_MAX) {
            $waiting = count($this->inbox);
            $this->drop();
            throw new ConnectionLost("$waiting messages wait for receive(), and no more fit");
        }
        $this->inbox[] = [$message, $bytes];
        $this->inboxBytes += $bytes;
        return false;
    }

    /**
     * Keeps what came before a connection ended.
     */
    private function salvage(): void
    {
        try {
            while (($text = $this->connection?->receive(Deadline::in(0))) !== null) {
                $this->keep($text);
            }
        } catch (ConnectionLost) {
            // That is known.
        }
    }

    private function ready(?string $text): string
    {
        if ($text === null) {
            throw new ConnectionFailed(Step::Handshake, "no ready from $this->url: no answer in time");
        }
        $message = Message::decode($text) ?? [];
        $uuid = $message['uuid'] ?? null;
        if (($message['opcode'] ?? null) === 'close') {
            $why = $message['error'] ?? '';
            $why = is_string($why) && $why !== '' ? ": $why" : '';
            throw new ConnectionFailed(Step::Handshake, "$this->url refuses this client$why");
        }
        if (($message['opcode'] ?? null) !== 'ready' || !is_string($uuid)) {
            throw new ConnectionFailed(Step::Handshake, "what answers at $this->url is no relay");
        }
        return $uuid;
    }

    /**
     * Waits until it is clear that the name is this client's. A relay says right behind `ready` that it
     * is not, so before the ack of anything. Not on a WebSocket: old clients there would take it for
     * their next answer.
     */
    private function claim(Connection $connection, Deadline $deadline): void
    {
        $connection->send(self::PROBE, $deadline);
        do {
            $text = $connection->receive($deadline) ?? throw new Timeout('no answer in time');
            $message = Message::decode($text) ?? [];
            if (($message['opcode'] ?? null) === 'error' && ($message['code'] ?? null) === Refused::IDENT_TAKEN) {
                throw Refused::from($message);
            }
        } while (!$this->keep($text));
    }

    private function lost(ConnectionLost $lost): ConnectionLost
    {
        $why = $this->farewell;
        $this->drop();
        return $why === null || $why === '' || str_contains($lost->getMessage(), $why)
            ? $lost
            : new ConnectionLost("the relay closed the connection: $why", $lost->closeCode, $lost);
    }

    private function drop(): void
    {
        $this->connection?->abort();
        $this->connection = null;
        $this->uuid = null;
        $this->farewell = null;
    }

    private function throwRefusal(): void
    {
        foreach ($this->inbox as $at => [$kept, $bytes]) {
            if ($kept instanceof Refused) {
                array_splice($this->inbox, $at, 1);
                $this->inboxBytes -= $bytes;
                throw $kept;
            }
        }
    }

    private static function named(string $what, string $name): void
    {
        if ($name === '') {
            throw new InvalidMessage("the $what is empty");
        }
    }
}
