<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidOption;
use Relay\Exception\ProtocolError;
use Relay\Exception\Step;
use Relay\Exception\Timeout;
use Relay\Framing\Framing;
use Relay\Framing\RawFraming;
use Relay\Framing\WebSocketFraming;

/**
 * One connection: texts go out and texts come in, unaltered. It knows nothing of opcodes; `Client`
 * does. Use it for what `Client` does not do, or with a `stream_select` of your own.
 */
final class Connection
{
    /** What stands for a Close frame without a code (RFC 6455, section 7.1.5). */
    private const CLOSE_WITHOUT_CODE = 1005;
    /** Seconds, where the options say nothing. */
    private const CONNECT_TIMEOUT = 5.0;

    /** What is still to be written, from $outAt on. */
    private string $out = '';
    private int $outAt = 0;
    private bool $isFinishing = false;
    /** To end this side of the stream once everything is written: the goodbye where there is no frame for it. */
    private bool $endsStream = false;
    /** Why it is over. Messages that came before are still handed out first. */
    private ConnectionFailed|ConnectionLost|null $end = null;

    /**
     * @internal use open(); this is for a socket that was looked at on the way
     */
    public function __construct(private readonly Socket $socket, private readonly Framing $framing)
    {
        $this->out = $framing->greeting();
    }

    /**
     * Connects: TCP, TLS and the upgrade or the greeting. The first message will be `ready`.
     *
     * @throws ConnectionFailed
     * @throws InvalidOption
     */
    public static function open(Url|string $url, ?Options $options = null, ?Deadline $deadline = null): self
    {
        $url = is_string($url) ? Url::parse($url) : $url;
        $options ??= new Options();
        $deadline ??= Deadline::in($options->connectTimeout ?? self::CONNECT_TIMEOUT);
        $socket = Socket::connect($url, $options, $deadline);
        try {
            if ($url->hasTls()) {
                $socket->secure($url, $deadline);
            }
            $connection = new self($socket, self::framing($url, $options));
            $connection->greet($url, $deadline);
            return $connection;
        } catch (ConnectionFailed $failed) {
            $socket->release();
            throw $failed;
        }
    }

    /**
     * @internal
     */
    public static function framing(Url $url, Options $options): Framing
    {
        return $url->isWebSocket() ? new WebSocketFraming($url, $options) : new RawFraming($url, $options);
    }

    /**
     * Says the greeting and waits for what answers it.
     *
     * @internal
     *
     * @throws ConnectionFailed
     */
    public function greet(Url $url, Deadline $deadline): void
    {
        while ($this->end === null && ($this->out !== '' || !$this->framing->isOpen())) {
            if (!$this->turn($deadline)) {
                throw new ConnectionFailed(Step::Handshake, "no handshake with $url: no answer in time");
            }
        }
        // An open connection may have ended behind its first messages, which are to be heard.
        if ($this->end !== null && !$this->framing->isOpen()) {
            throw new ConnectionFailed(
                Step::Handshake,
                "no handshake with $url: " . $this->end->getMessage(),
                $this->end,
            );
        }
    }

    /**
     * Sends a text as one message, whatever it is; on a WebSocket it has to be UTF-8. What comes
     * meanwhile is kept.
     *
     * @throws ConnectionLost
     * @throws Timeout after which a part of the message is out, so nothing but abort() makes sense
     */
    public function send(string $text, Deadline $deadline): void
    {
        if ($this->end !== null || $this->isFinishing) {
            throw $this->ended();
        }
        $this->say($this->framing->encode($text));
        while ($this->out !== '') {
            if (!$this->turn($deadline)) {
                throw new Timeout('the relay did not take the message in time');
            }
            // An end behind the whole message is told by receive(): the answer may have come before it.
            if ($this->end !== null && $this->out !== '') {
                throw $this->ended();
            }
        }
    }

    /**
     * The next message; null if none has come by then. Deadline::in(0) only looks.
     *
     * @throws ConnectionLost behind the last message
     */
    public function receive(Deadline $deadline): ?string
    {
        while (($text = $this->framing->message()) === null) {
            if ($this->end !== null) {
                throw $this->ended();
            }
            if (!$this->turn($deadline)) {
                return null;
            }
        }
        return $text;
    }

    /**
     * Whether the connection has not ended, as far as is known now. Reads what has come, without
     * waiting.
     */
    public function isAlive(): bool
    {
        $now = Deadline::in(0);
        while ($this->end === null && $this->turn($now)) {
            continue;
        }
        return $this->end === null && !$this->isFinishing;
    }

    /**
     * Says goodbye, with a Close frame or by ending this side of the stream. What the relay still
     * says can be received, up to a ConnectionLost.
     */
    public function finish(?int $code = 1000): void
    {
        if ($this->isFinishing || $this->end !== null) {
            return;
        }
        $this->isFinishing = true;
        $goodbye = $this->framing->goodbye($code);
        $this->endsStream = $goodbye === null;
        $this->say($goodbye ?? '');
        $this->flush();
    }

    /**
     * Says goodbye, and waits for the relay's; returns the code of that (1005 if it has none), or
     * null if there was none in time.
     */
    public function close(Deadline $deadline, ?int $code = 1000): ?int
    {
        $this->finish($code);
        while ($this->end === null && $this->turn($deadline)) {
            continue;
        }
        $this->abort();
        return $this->end instanceof ConnectionLost ? $this->end->closeCode : null;
    }

    /**
     * Ends the connection now.
     */
    public function abort(): void
    {
        $this->end ??= new ConnectionLost('the connection was closed by this side');
        $this->socket->release();
    }

    /**
     * For a `stream_select` of your own: when there is something to read, call receive() with
     * Deadline::in(0) until it returns null.
     *
     * @return resource
     */
    public function stream()
    {
        return $this->socket->stream();
    }

    /**
     * Waits for the socket and moves bytes in both directions. False: nothing to move in time.
     *
     * Reading goes on while a long message is written. Two sides that only write, and do not read,
     * would wait for each other for ever.
     */
    private function turn(Deadline $deadline): bool
    {
        if (!$this->socket->wait($this->out !== '', $deadline)) {
            return false;
        }
        $this->flush();
        $bytes = $this->socket->read();
        try {
            if ($bytes !== '') {
                $this->framing->take($bytes);
            }
        } catch (ProtocolError | ConnectionFailed $error) {
            $answer = $error instanceof ProtocolError ? $error->answer : null;
            $this->say($this->framing->goodbye($answer, $error->getMessage()) ?? '');
            $this->flush();
            $this->over($error);
            return true;
        }
        $this->say($this->framing->replies());
        $this->flush();
        $farewell = $this->framing->farewell();
        if ($farewell !== null) {
            [$code, $reason] = $farewell;
            $said = trim("$code $reason");
            $this->over(new ConnectionLost(
                'the relay closed the connection' . ($said === '' ? '' : ": $said"),
                $code ?? self::CLOSE_WITHOUT_CODE,
            ));
        } elseif ($this->socket->hasEnded()) {
            $this->over(new ConnectionLost($this->endOfStream()));
        }
        return true;
    }

    private function say(string $bytes): void
    {
        if ($bytes !== '') {
            $this->out = $this->outAt === 0 ? $this->out . $bytes : substr($this->out, $this->outAt) . $bytes;
            $this->outAt = 0;
        }
    }

    /**
     * Writes what goes without waiting.
     */
    private function flush(): void
    {
        while ($this->out !== '') {
            $count = $this->socket->write($this->out, $this->outAt);
            if ($count === 0) {
                return;
            }
            $this->outAt += $count ?? 0;
            // Of a stream that takes no more, the reading tells why: the last words may be in it.
            if ($count === null || $this->outAt >= strlen($this->out)) {
                $this->out = '';
                $this->outAt = 0;
            }
        }
        if ($this->endsStream) {
            $this->endsStream = false;
            $this->socket->finish();
        }
    }

    private function over(ConnectionFailed|ConnectionLost $end): void
    {
        $this->end = $end;
        $this->socket->release();
    }

    /**
     * A new exception for each throw, whose trace is that of the caller.
     */
    private function ended(): ConnectionLost
    {
        $end = $this->end ?? new ConnectionLost('the connection is being closed by this side');
        return $end instanceof ProtocolError
            ? new ProtocolError($end->getMessage(), $end->answer)
            : new ConnectionLost($end->getMessage(), $end instanceof ConnectionLost ? $end->closeCode : null);
    }

    private function endOfStream(): string
    {
        $trouble = $this->socket->trouble();
        return 'the connection ended' . ($this->framing->isMidway() ? ' in the middle of a message' : '')
            . ($trouble === '' ? '' : ": $trouble");
    }
}
