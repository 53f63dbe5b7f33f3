<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\Step;

/**
 * A stream of bytes, plain or with TLS, that never blocks but in `wait`.
 */
final class Socket
{
    /** More at once gains nothing, and of what a write does not take nothing has to be kept. */
    private const CHUNK_BYTES = 65_536;

    private bool $hasEnded = false;
    private string $trouble = '';

    /**
     * @param resource $stream
     */
    private function __construct(private $stream)
    {
    }

    /**
     * @throws ConnectionFailed
     */
    public static function connect(Url $url, Options $options, Deadline $deadline): self
    {
        $context = stream_context_create([
            // Small messages that wait for their answer gain nothing from being collected.
            'socket' => ['tcp_nodelay' => true],
            'ssl' => $options->tls($url->host),
        ]);
        $number = 0;
        $error = '';
        $stream = self::guarded(static function () use ($url, $deadline, $context, &$number, &$error) {
            return stream_socket_client(
                'tcp://' . $url->authority(),
                $number,
                $error,
                // 0 would be no time at all, and what is too long overflows.
                min(86_400.0, max(0.001, $deadline->left() ?? INF)),
                STREAM_CLIENT_CONNECT,
                $context,
            );
        }, $warning);
        if (!is_resource($stream)) {
            // A name that cannot be resolved has no number of the system.
            $step = $number === 0 && str_contains($error . $warning, 'getaddrinfo') ? Step::Resolve : Step::Connect;
            $why = $error !== '' ? $error : ($warning !== '' ? $warning : 'no connection');
            throw new ConnectionFailed($step, "cannot connect to $url: $why");
        }
        stream_set_blocking($stream, false);
        stream_set_chunk_size($stream, self::CHUNK_BYTES);
        return new self($stream);
    }

    /**
     * Goes over to TLS, and checks the certificate as the options say.
     *
     * @throws ConnectionFailed
     */
    public function secure(Url $url, Deadline $deadline): void
    {
        do {
            $done = self::guarded(fn () => stream_socket_enable_crypto($this->stream, true), $warning);
            if ($done === true) {
                return;
            }
            if ($done === false) {
                $why = $warning !== '' ? $warning : 'the other side ended the connection';
                throw new ConnectionFailed(Step::Tls, "no TLS with $url: " . self::tlsTrouble($why));
            }
            // The client waits for the server all through the handshake; what it says itself is short.
        } while ($this->wait(false, $deadline));
        throw new ConnectionFailed(Step::Tls, "no TLS with $url: no answer in time");
    }

    /**
     * Waits until something can be read (or written, if asked for). False: not in time.
     */
    public function wait(bool $forWrite, Deadline $deadline): bool
    {
        do {
            $left = $deadline->left();
            $read = [$this->stream];
            $write = $forWrite ? [$this->stream] : null;
            $except = null;
            // Whole microseconds, rounded up: rounded down, the last wait would spin.
            $micros = $left === null ? null : (int) ceil(min($left, 1e6) * 1e6);
            $count = self::guarded(static function () use (&$read, &$write, &$except, $micros) {
                return $micros === null
                    ? stream_select($read, $write, $except, null)
                    : stream_select($read, $write, $except, intdiv($micros, 1_000_000), $micros % 1_000_000);
            }, $warning);
            if (is_int($count) && $count > 0) {
                return true;
            }
            // False is a signal (another handler may have run), 0 a wait that was cut to what a select takes.
        } while (!$deadline->isOver());
        return false;
    }

    /**
     * What has come; empty if that is nothing, or if the stream has ended.
     */
    public function read(): string
    {
        if ($this->hasEnded) {
            return '';
        }
        $bytes = self::guarded(fn () => fread($this->stream, self::CHUNK_BYTES), $warning);
        // Not feof(), which may wait by itself.
        if ($bytes === '' || $bytes === false) {
            $this->hasEnded = $warning !== '' || stream_get_meta_data($this->stream)['eof'];
            $this->trouble = $this->trouble !== '' ? $this->trouble : $warning;
        }
        return is_string($bytes) ? $bytes : '';
    }

    /**
     * How many of the bytes from $at on went out; null if no more ever will.
     */
    public function write(string $bytes, int $at): ?int
    {
        $chunk = substr($bytes, $at, self::CHUNK_BYTES);
        $count = self::guarded(fn () => fwrite($this->stream, $chunk), $warning);
        if ($warning !== '') {
            $this->trouble = $warning;
            return null;
        }
        return (int) $count;
    }

    /**
     * Ends this side of the stream; what the other still says can be read.
     */
    public function finish(): void
    {
        self::guarded(fn () => stream_socket_shutdown($this->stream, STREAM_SHUT_WR), $warning);
    }

    /**
     * Whether the other side has ended the stream, or the network has.
     */
    public function hasEnded(): bool
    {
        return $this->hasEnded;
    }

    /**
     * What broke the stream, in the system's words; empty if nothing did.
     */
    public function trouble(): string
    {
        return preg_replace('/\A.*errno=\d+ /', '', $this->trouble);
    }

    public function release(): void
    {
        $this->hasEnded = true;
        if (is_resource($this->stream)) {
            self::guarded(fn () => fclose($this->stream), $warning);
        }
    }

    /**
     * @return resource for stream_select
     */
    public function stream()
    {
        return $this->stream;
    }

    /**
     * PHP tells the reason of a failure on a stream by warnings only. They are for the exception,
     * not for the page, and not for the handler of the application.
     *
     * @param callable(): mixed $call
     * @param-out string $warning
     */
    private static function guarded(callable $call, ?string &$warning): mixed
    {
        $warnings = [];
        set_error_handler(static function (int $level, string $text) use (&$warnings): bool {
            $warnings[] = preg_replace('/\A\w+\(\): /', '', $text);
            return true;
        });
        try {
            return $call();
        } finally {
            restore_error_handler();
            $warning = implode('; ', $warnings);
        }
    }

    /**
     * OpenSSL's words, and what to do about the commonest.
     */
    private static function tlsTrouble(string $warning): string
    {
        $warning = trim((string) preg_replace('/\s+/', ' ', $warning));
        return match (true) {
            str_contains($warning, 'certificate verify failed') =>
                'its certificate is not trusted: it is signed by nobody known here, or has expired, or is '
                . 'for another name (option cafile; bin/relay-check tells which)',
            str_contains($warning, 'did not match expected') =>
                "its certificate is for another name: $warning",
            str_contains($warning, 'wrong version number') || str_contains($warning, 'unexpected message') =>
                "what listens there speaks no TLS: $warning",
            str_contains($warning, 'cafile') || str_contains($warning, 'verify locations') =>
                "the trusted certificates cannot be read: $warning",
            default => $warning,
        };
    }
}
