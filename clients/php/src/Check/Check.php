<?php

declare(strict_types=1);

namespace Relay\Check;

use Relay\Connection;
use Relay\Deadline;
use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidOption;
use Relay\Exception\Refused;
use Relay\Exception\Step;
use Relay\Exception\Timeout;
use Relay\Message;
use Relay\Socket;
use Relay\Url;

/**
 * Walks to a relay step by step, for a person: says what is there, and at the first step that fails
 * what is wrong and what to try.
 */
final class Check
{
    /** Exit codes, as in sysexits.h. */
    public const OK = 0;
    public const USAGE = 64;
    public const UNAVAILABLE = 69;
    public const PROTOCOL = 76;
    /** Either side does not want the other: the certificate, or the name. */
    public const UNWANTED = 77;

    private const ROUND_TRIPS = 10;

    private Arguments $arguments;

    /**
     * @param resource $output
     * @param resource $errors
     */
    public function __construct(private $output, private $errors)
    {
    }

    /**
     * @param list<string> $arguments without the name of the program
     *
     * @return int the exit code
     */
    public function run(array $arguments): int
    {
        try {
            $this->arguments = Arguments::parse($arguments);
        } catch (InvalidOption $error) {
            fwrite($this->errors, 'relay-check: ' . $error->getMessage() . "\n" . Arguments::USAGE);
            return self::USAGE;
        }
        if ($this->arguments->wantsHelp) {
            fwrite($this->output, Arguments::USAGE);
            return self::OK;
        }
        try {
            $this->walk($this->arguments->url);
            fwrite($this->output, "All is well.\n");
            return self::OK;
        } catch (Failure $failure) {
            $this->say('FAIL', $failure->step, $failure->getMessage());
            foreach ($failure->cures as $cure) {
                $this->say('', '', "-> $cure");
            }
            return $failure->code();
        }
    }

    private function walk(Url $url): void
    {
        fwrite($this->output, "$url\n");
        $this->resolve($url);
        $socket = $this->connect($url);
        if ($url->hasTls()) {
            $this->secure($url, $socket);
        }
        $connection = new Connection($socket, Connection::framing($url, $this->arguments->options));
        try {
            $this->greet($url, $connection);
            $this->trips($connection);
            $this->ident($connection);
            $this->uuid($connection);
            $this->quit($connection);
        } catch (ConnectionLost $lost) {
            throw new Failure('conversation', self::PROTOCOL, $lost->getMessage(), [
                'the log of the relay; with --set log.level=debug it tells why a connection ended',
            ]);
        } catch (Timeout $timeout) {
            throw new Failure('conversation', self::UNAVAILABLE, $timeout->getMessage(), [
                'another time: the relay is busy, or its script is',
            ]);
        } finally {
            $connection->abort();
        }
    }

    private function resolve(Url $url): void
    {
        if (filter_var($url->host, FILTER_VALIDATE_IP) !== false) {
            return;
        }
        // Only those of IPv4. The next step tries the others as well.
        $addresses = gethostbynamel($url->host);
        if (is_array($addresses) && $addresses !== []) {
            $this->say('ok', 'resolve', "$url->host is " . implode(', ', $addresses));
        }
    }

    private function connect(Url $url): Socket
    {
        $began = hrtime(true);
        try {
            $socket = Socket::connect($url, $this->arguments->options, $this->deadline());
        } catch (ConnectionFailed $failed) {
            throw Failure::of($failed, $url);
        }
        $peer = stream_socket_get_name($socket->stream(), true);
        $this->say('ok', 'connect', sprintf('%s in %s', $peer, self::since($began)));
        return $socket;
    }

    private function secure(Url $url, Socket $socket): void
    {
        $began = hrtime(true);
        try {
            $socket->secure($url, $this->deadline());
        } catch (ConnectionFailed $failed) {
            $certificate = $this->certificateUnchecked($url);
            if ($certificate === null) {
                throw Failure::of($failed, $url);
            }
            $this->say('', '', 'certificate ' . $certificate->description());
            throw new Failure(
                'tls',
                self::UNWANTED,
                'this certificate is not trusted',
                $certificate->cures($this->arguments->options->peerName ?? $url->host),
            );
        }
        $crypto = stream_get_meta_data($socket->stream())['crypto'] ?? [];
        $how = ($crypto['protocol'] ?? '?') . ', ' . ($crypto['cipher_name'] ?? '?');
        $this->say('ok', 'tls', "$how in " . self::since($began));
        $certificate = Certificate::of($socket->stream());
        if ($certificate !== null) {
            $this->say('', '', 'certificate ' . $certificate->description());
            if ($certificate->daysLeft() < 14) {
                $this->say('warn', '', 'it expires soon');
            }
        }
        if (!$this->arguments->options->verify) {
            $this->say('warn', '', 'it was not checked (--insecure): anybody could have answered');
        }
    }

    /**
     * Whatever certificate is shown there, to tell what is wrong with it. Nothing else is said to
     * whom it belongs.
     */
    private function certificateUnchecked(Url $url): ?Certificate
    {
        try {
            $socket = Socket::connect($url, $this->arguments->unchecked(), $this->deadline());
            $socket->secure($url, $this->deadline());
            return Certificate::of($socket->stream());
        } catch (ConnectionFailed) {
            return null;
        } finally {
            isset($socket) && $socket->release();
        }
    }

    private function greet(Url $url, Connection $connection): void
    {
        $began = hrtime(true);
        $deadline = $this->deadline();
        try {
            $connection->greet($url, $deadline);
            $text = $connection->receive($deadline);
            if ($text === null) {
                throw new ConnectionFailed(Step::Handshake, 'no answer in time');
            }
        } catch (ConnectionLost $lost) {
            throw Failure::of(new ConnectionFailed(Step::Handshake, $lost->getMessage()), $url);
        } catch (ConnectionFailed $failed) {
            throw Failure::of($failed, $url);
        }
        $ready = Message::decode($text) ?? [];
        if (($ready['opcode'] ?? null) !== 'ready') {
            $shown = '"' . preg_replace('/[^\x20-\x7e]+/', ' ', substr($text, 0, 100)) . '"';
            $refused = ($ready['opcode'] ?? null) === 'close';
            throw new Failure('handshake', self::PROTOCOL, "the first message is no ready: $shown", [
                $refused ? 'the function on.connect of the relay\'s script, which refuses this client'
                    : 'another port: what listens there is no relay',
            ]);
        }
        $uuid = $ready['uuid'] ?? '';
        // A uuid is a secret, so it is not shown whole.
        $shown = is_string($uuid) ? substr($uuid, 0, 8) . '...' : '?';
        $this->say('ok', 'handshake', sprintf('ready in %s, issued uuid %s', self::since($began), $shown));
    }

    /**
     * Acks, and with the opcode `echo` whether messages come back as they went.
     */
    private function trips(Connection $connection): void
    {
        if (!$this->arguments->echo) {
            return;
        }
        $times = [];
        for ($n = 0; $n < self::ROUND_TRIPS; $n++) {
            // What a relay that decodes and encodes it would not give back as it was.
            $text = '{"opcode":"echo", "check":"žluť \\u00e9 \\"}{","big":12345678901234567890,"one":1.0,"n":' . "$n}";
            $began = hrtime(true);
            $this->exchange($connection, $text);
            $times[] = hrtime(true) - $began;
            $this->expect($connection, $text, 'echo', [
                'the relay\'s script: has it the opcode echo of the default script? (else: --no-echo)',
            ]);
        }
        sort($times);
        $this->say('ok', 'ack', sprintf(
            'in %.2f ms (median of %d; slowest %.2f ms)',
            $times[intdiv(count($times), 2)] / 1e6,
            count($times),
            end($times) / 1e6,
        ));
        $this->say('ok', 'echo', 'comes back byte for byte');
    }

    private function ident(Connection $connection): void
    {
        $ident = $this->arguments->options->ident;
        if ($ident === null) {
            return;
        }
        $mark = bin2hex(random_bytes(8));
        $text = Message::encode(['opcode' => 'feedback', 'ident' => $ident, 'check' => $mark], PHP_INT_MAX);
        $this->exchange($connection, $text);
        $this->expect($connection, $text, 'ident', [
            "another name: somebody else may have \"$ident\"",
            'a proxy in front may drop the header Ident',
        ]);
        $this->say('ok', 'ident', "\"$ident\" is reached");
    }

    private function uuid(Connection $connection): void
    {
        $uuid = $this->arguments->uuid;
        if ($uuid === null) {
            return;
        }
        $fields = ['opcode' => 'feedback', 'uuid' => $uuid] + Message::progress(100, 'relay-check was here', []);
        $this->exchange($connection, Message::encode($fields, PHP_INT_MAX));
        $this->say('ok', 'feedback', 'taken; the page should now show "relay-check was here"');
    }

    private function quit(Connection $connection): void
    {
        $this->exchange($connection, '{"opcode":"quit"}');
        try {
            while ($connection->receive($this->deadline()) !== null) {
                continue;
            }
            $this->say('warn', 'quit', 'the relay does not close the connection');
        } catch (ConnectionLost $lost) {
            $code = $lost->closeCode === null ? '' : " with $lost->closeCode";
            $this->say('ok', 'quit', "closed by the relay$code");
        }
    }

    private function exchange(Connection $connection, string $text): void
    {
        $deadline = $this->deadline();
        $connection->send($text, $deadline);
        $heard = $connection->receive($deadline) ?? throw new Timeout('a message was not acknowledged in time');
        $answer = Message::decode($heard) ?? [];
        // It comes right behind `ready`, so before the first ack.
        if (($answer['opcode'] ?? null) === 'error' && ($answer['code'] ?? null) === Refused::IDENT_TAKEN) {
            throw new Failure('ident', self::UNWANTED, Refused::from($answer)->getMessage(), [
                'another name: somebody else is connected under this one',
                'if that was you, and the network died: the relay keeps the name until it notices',
            ]);
        }
        if (($answer['opcode'] ?? null) !== 'next') {
            $what = 'a message was answered by something that is no ack: ' . substr($heard, 0, 100);
            throw new Failure('ack', self::PROTOCOL, $what, ['another port: is this a relay?']);
        }
    }

    /**
     * @param list<string> $cures
     */
    private function expect(Connection $connection, string $text, string $step, array $cures): void
    {
        $heard = $connection->receive($this->deadline());
        if ($heard !== $text) {
            $what = $heard === null ? 'nothing came back' : 'something else came back: ' . substr($heard, 0, 100);
            throw new Failure($step, self::PROTOCOL, $what, $cures);
        }
    }

    private function deadline(): Deadline
    {
        return Deadline::in($this->arguments->options->timeout);
    }

    private function say(string $verdict, string $step, string $text): void
    {
        fwrite($this->output, sprintf("  %-4s  %-9s  %s\n", $verdict, $step, $text));
    }

    private static function since(int $began): string
    {
        return sprintf('%.1f ms', (hrtime(true) - $began) / 1e6);
    }
}
