<?php

declare(strict_types=1);

namespace Relay\Framing;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\ProtocolError;
use Relay\Exception\Step;
use Relay\Options;
use Relay\Url;

/**
 * The client's side of a WebSocket (RFC 6455), over `ws` and `wss`, as a backend.
 */
final class WebSocketFraming implements Framing
{
    private const CONTINUATION = 0x0;
    private const TEXT = 0x1;
    private const CLOSE = 0x8;
    private const PING = 0x9;
    private const PONG = 0xA;
    /** What is appended to the key before it is hashed, so that no other server answers right by chance. */
    private const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
    private const HEAD_BYTES_MAX = 16_384;

    /** @var \SplQueue<string> */
    private \SplQueue $messages;
    private readonly string $key;
    private bool $isOpen = false;
    /** What has come and is not taken apart yet, from $at on. */
    private string $buffer = '';
    private int $at = 0;
    /** The fragments of a message of which more is to come; null between messages. */
    private ?string $fragments = null;
    private string $replies = '';
    /** @var array{?int, string}|null */
    private ?array $farewell = null;
    /** A Close frame is the last thing that a side says. */
    private bool $saidGoodbye = false;

    public function __construct(private readonly Url $url, private readonly Options $options)
    {
        $this->messages = new \SplQueue();
        $this->key = base64_encode(random_bytes(16));
    }

    public function greeting(): string
    {
        $target = $this->url->target === '' ? '/' : $this->url->target;
        return "GET $target HTTP/1.1\r\n"
            . "Host: {$this->url->authority()}\r\n"
            . "Upgrade: websocket\r\n"
            . "Connection: Upgrade\r\n"
            . "Sec-WebSocket-Key: $this->key\r\n"
            . "Sec-WebSocket-Version: 13\r\n"
            . "Client-Type: php\r\n"
            . $this->options->headerLines()
            . "\r\n";
    }

    public function isOpen(): bool
    {
        return $this->isOpen;
    }

    public function encode(string $text): string
    {
        return self::frame(self::TEXT, $text);
    }

    public function take(string $bytes): void
    {
        if ($this->farewell !== null) {
            return;
        }
        $this->buffer .= $bytes;
        if ($this->isOpen || $this->readHead()) {
            while ($this->farewell === null && $this->readFrame()) {
                continue;
            }
        }
        // Cutting off each frame by itself would copy a long buffer once for each.
        if ($this->at > 0) {
            $this->buffer = substr($this->buffer, $this->at);
            $this->at = 0;
        }
    }

    public function message(): ?string
    {
        return $this->messages->isEmpty() ? null : $this->messages->dequeue();
    }

    public function replies(): string
    {
        $replies = $this->replies;
        $this->replies = '';
        return $replies;
    }

    public function goodbye(?int $code, string $reason = ''): ?string
    {
        if ($this->saidGoodbye || !$this->isOpen) {
            return '';
        }
        $this->saidGoodbye = true;
        // 125 bytes is the most that a Close frame holds.
        return self::frame(self::CLOSE, $code === null ? '' : pack('n', $code) . substr($reason, 0, 123));
    }

    public function farewell(): ?array
    {
        return $this->farewell;
    }

    public function isMidway(): bool
    {
        return !$this->isOpen || $this->buffer !== '' || $this->fragments !== null;
    }

    /**
     * The answer to the upgrade. Whether it has come whole; then the frames follow.
     */
    private function readHead(): bool
    {
        $end = strpos($this->buffer, "\r\n\r\n");
        if ($end === false || $end > self::HEAD_BYTES_MAX) {
            if (strlen($this->buffer) > self::HEAD_BYTES_MAX) {
                throw self::failed('the answer to the upgrade has no end');
            }
            if (strncmp($this->buffer, 'HTTP/', min(5, strlen($this->buffer))) !== 0) {
                throw self::failed('what answers is no web server: ' . RawFraming::shown(substr($this->buffer, 0, 80)));
            }
            return false;
        }
        $lines = explode("\r\n", substr($this->buffer, 0, $end));
        $status = array_shift($lines);
        $headers = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = trim($value);
        }
        if (preg_match('#\AHTTP/1\.1 101(?: |\z)#', $status) !== 1) {
            $body = RawFraming::shown(substr($this->buffer, $end + 4, 200));
            $said = RawFraming::shown($status) . ($body === '""' ? '' : " $body");
            throw self::failed("the upgrade was refused: $said");
        }
        $accept = base64_encode(sha1($this->key . self::ACCEPT_SUFFIX, true));
        if (
            strtolower($headers['upgrade'] ?? '') !== 'websocket'
            || !str_contains(strtolower($headers['connection'] ?? ''), 'upgrade')
            || ($headers['sec-websocket-accept'] ?? '') !== $accept
            // Nothing of this was asked for, so it would change what the frames mean.
            || isset($headers['sec-websocket-extensions'])
            || isset($headers['sec-websocket-protocol'])
        ) {
            throw self::failed('the answer to the upgrade is not that of a WebSocket server');
        }
        $this->at = $end + 4;
        $this->isOpen = true;
        return true;
    }

    /**
     * Takes the next frame off the buffer. Whether it had come whole.
     */
    private function readFrame(): bool
    {
        $has = strlen($this->buffer) - $this->at;
        if ($has < 2) {
            return false;
        }
        $first = ord($this->buffer[$this->at]);
        $second = ord($this->buffer[$this->at + 1]);
        $opcode = $first & 0x0F;
        $isFinal = ($first & 0x80) !== 0;
        if (($first & 0x70) !== 0 || ($second & 0x80) !== 0) {
            throw new ProtocolError('a frame with reserved bits, or with a mask');
        }
        $length = $second & 0x7F;
        $head = match ($length) {
            126 => 4,
            127 => 10,
            default => 2,
        };
        if ($opcode >= self::CLOSE && ($length > 125 || !$isFinal)) {
            throw new ProtocolError('a control frame that is too long, or in fragments');
        }
        if ($has < $head) {
            return false;
        }
        if ($head > 2) {
            $length = unpack($head === 4 ? 'n' : 'J', $this->buffer, $this->at + 2)[1];
        }
        // A number with its highest bit set is negative here.
        if ($length < 0 || $length > RawFraming::RECEIVED_BYTES_MAX - strlen($this->fragments ?? '')) {
            throw new ProtocolError('a message longer than ' . RawFraming::RECEIVED_BYTES_MAX . ' bytes', 1009);
        }
        if ($has < $head + $length) {
            return false;
        }
        $payload = substr($this->buffer, $this->at + $head, $length);
        $this->at += $head + $length;
        $this->handle($opcode, $isFinal, $payload);
        return true;
    }

    private function handle(int $opcode, bool $isFinal, string $payload): void
    {
        switch ($opcode) {
            case self::TEXT:
            case self::CONTINUATION:
                if (($opcode === self::TEXT) !== ($this->fragments === null)) {
                    throw new ProtocolError('a fragment that belongs to no message, or a message within another');
                }
                $text = $this->fragments . $payload;
                $this->fragments = $isFinal ? null : $text;
                if ($isFinal) {
                    $this->messages->enqueue(self::utf8($text));
                }
                break;
            case self::PING:
                if (!$this->saidGoodbye) {
                    $this->replies .= self::frame(self::PONG, $payload);
                }
                break;
            case self::PONG:
                break;
            case self::CLOSE:
                $this->close($payload);
                break;
            case 0x2:
                throw new ProtocolError('a binary frame', 1003);
            default:
                throw new ProtocolError("a frame with the unknown opcode $opcode");
        }
    }

    private function close(string $payload): void
    {
        $code = strlen($payload) >= 2 ? unpack('n', $payload)[1] : null;
        if (strlen($payload) === 1 || ($code !== null && ($code < 1000 || in_array($code, [1004, 1005, 1006], true)))) {
            throw new ProtocolError('a Close frame with an invalid code');
        }
        $this->farewell = [$code, self::utf8(substr($payload, 2))];
        $this->replies .= $this->goodbye($code);
        // Nothing counts behind a Close frame.
        $this->buffer = '';
        $this->at = 0;
        $this->fragments = null;
    }

    /**
     * @throws ProtocolError
     */
    private static function utf8(string $text): string
    {
        if (preg_match('//u', $text) !== 1) {
            throw new ProtocolError('text that is not UTF-8', 1007);
        }
        return $text;
    }

    /**
     * A whole frame, masked as those of clients are.
     */
    private static function frame(int $opcode, string $payload): string
    {
        $length = strlen($payload);
        $head = match (true) {
            $length < 126 => pack('CC', 0x80 | $opcode, 0x80 | $length),
            $length < 65_536 => pack('CCn', 0x80 | $opcode, 0x80 | 126, $length),
            default => pack('CCJ', 0x80 | $opcode, 0x80 | 127, $length),
        };
        $mask = random_bytes(4);
        // The xor of two strings is as long as the shorter.
        return $head . $mask . ($payload ^ str_repeat($mask, intdiv($length, 4) + 1));
    }

    private static function failed(string $message): ConnectionFailed
    {
        return new ConnectionFailed(Step::Handshake, $message);
    }
}
