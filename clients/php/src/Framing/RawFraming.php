<?php

declare(strict_types=1);

namespace Relay\Framing;

use Relay\Exception\ProtocolError;
use Relay\Options;
use Relay\Url;

/**
 * Bare JSON in both directions with nothing between two values, over `tcp` and `ssl`.
 *
 * Where an object or array ends is found by counting brackets outside of strings; whether it is
 * valid is for the one who decodes it. Each byte is looked at once, however the stream is cut.
 */
final class RawFraming implements Framing
{
    /** More than a relay sends. Without a bound, a server that is no relay could fill the memory. */
    public const RECEIVED_BYTES_MAX = 16_777_216;

    private const BLANK = " \t\r\n";

    /** @var \SplQueue<string> */
    private \SplQueue $messages;
    /** The part of a value that has come. */
    private string $part = '';
    private int $depth = 0;
    private bool $inString = false;
    private bool $isEscaped = false;

    public function __construct(private readonly Url $url, private readonly Options $options)
    {
        $this->messages = new \SplQueue();
    }

    public function greeting(): string
    {
        $resource = $this->url->target === '' ? '' : "GET {$this->url->target} HTTP/1.1\r\n";
        return "php process\r\n" . $resource . $this->options->headerLines() . "\r\n";
    }

    public function isOpen(): bool
    {
        return true;
    }

    public function encode(string $text): string
    {
        return $text;
    }

    public function take(string $bytes): void
    {
        $at = 0;
        $end = strlen($bytes);
        while ($at < $end) {
            if ($this->depth === 0) {
                $at += strspn($bytes, self::BLANK, $at);
                if ($at === $end) {
                    return;
                }
                if ($bytes[$at] !== '{' && $bytes[$at] !== '[') {
                    throw new ProtocolError('what answers is no relay: ' . self::shown(substr($bytes, $at, 80)));
                }
            }
            $start = $at;
            $at = $this->scan($bytes, $at, $end);
            $this->part .= $start === 0 && $at === $end ? $bytes : substr($bytes, $start, $at - $start);
            if (strlen($this->part) > self::RECEIVED_BYTES_MAX) {
                $this->part = '';
                throw new ProtocolError('a message longer than ' . self::RECEIVED_BYTES_MAX . ' bytes', 1009);
            }
            if ($this->depth === 0) {
                $this->messages->enqueue($this->part);
                $this->part = '';
            }
        }
    }

    public function message(): ?string
    {
        return $this->messages->isEmpty() ? null : $this->messages->dequeue();
    }

    public function replies(): string
    {
        return '';
    }

    public function goodbye(?int $code, string $reason = ''): ?string
    {
        return null;
    }

    public function farewell(): ?array
    {
        return null;
    }

    public function isMidway(): bool
    {
        return $this->depth > 0;
    }

    /**
     * Bytes from elsewhere, fit for a message to a person.
     */
    public static function shown(string $bytes): string
    {
        return '"' . preg_replace('/[^\x20-\x7e]+/', ' ', $bytes) . '"';
    }

    /**
     * Goes on behind the end of the value, or of the bytes, whichever comes first.
     */
    private function scan(string $bytes, int $at, int $end): int
    {
        while ($at < $end) {
            if ($this->isEscaped) {
                $this->isEscaped = false;
                $at++;
            } elseif ($this->inString) {
                $at += strcspn($bytes, '"\\', $at);
                if ($at < $end) {
                    $this->isEscaped = $bytes[$at] === '\\';
                    $this->inString = $this->isEscaped;
                    $at++;
                }
            } else {
                $at += strcspn($bytes, '"{[]}', $at);
                if ($at < $end) {
                    switch ($bytes[$at++]) {
                        case '"':
                            $this->inString = true;
                            break;
                        case '{':
                        case '[':
                            $this->depth++;
                            break;
                        default:
                            if (--$this->depth === 0) {
                                return $at;
                            }
                    }
                }
            }
        }
        return $at;
    }
}
