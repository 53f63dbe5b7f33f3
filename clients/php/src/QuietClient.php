<?php

declare(strict_types=1);

namespace Relay;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\Refused;
use Relay\Exception\Timeout;

/**
 * Best effort: every call returns whether the relay took the message, and throws nothing, whatever
 * is wrong with the relay, the network, the URL or the message. An argument of a wrong type is a
 * TypeError here too.
 *
 * A page must not get slow either. So the timeouts are short, and after a failure the relay is left
 * alone for a pause: a page with a hundred calls waits for one timeout, not for a hundred.
 */
final class QuietClient implements Sender
{
    /** For a relay on this machine or nearby. */
    private const CONNECT_TIMEOUT = 0.5;
    private const TIMEOUT = 1.0;

    private readonly Options $options;
    private ?Client $client = null;
    private Deadline $pauseEnd;
    /** What was reported last, so that it is not reported again and again. */
    private ?string $reported = null;
    /** @var ?callable(string, string, array<string, mixed>): mixed */
    private $report;

    /**
     * @param ?Options $options whose timeouts are short where none are given
     * @param ?callable(string, string, array<string, mixed>): mixed $report gets each trouble once:
     *     level, message and context, as the log() of a PSR-3 logger does: `$logger->log(...)`.
     *     By default it goes to PHP's error log.
     * @param float $pause seconds for which the relay is left alone after a failure
     */
    public function __construct(
        private readonly string $url,
        ?Options $options = null,
        ?callable $report = null,
        private readonly float $pause = 10.0,
    ) {
        $this->options = ($options ?? new Options())->withTimeouts(self::CONNECT_TIMEOUT, self::TIMEOUT);
        $this->report = $report;
        $this->pauseEnd = Deadline::in(0);
    }

    public function send(array|string $message): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->send($message));
    }

    public function feedback(string $uuid, array|string $message): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->feedback($uuid, $message));
    }

    public function feedbackIdent(string $ident, array|string $message): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->feedbackIdent($ident, $message));
    }

    public function broadcast(array|string $message): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->broadcast($message));
    }

    public function progress(string $uuid, int|float $percent, string $text = '', array $more = []): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->progress($uuid, $percent, $text, $more));
    }

    public function quit(): bool
    {
        return $this->attempt(static fn (Client $client): bool => $client->quit());
    }

    /**
     * @param callable(Client): bool $call
     */
    private function attempt(callable $call): bool
    {
        if (!$this->pauseEnd->isOver()) {
            return false;
        }
        try {
            $this->client ??= new Client($this->url, $this->options);
            $done = $call($this->client);
            $this->reported = null;
            return $done;
        } catch (\Throwable $trouble) {
            // Not a RelayException alone: a message may hold objects, and their jsonSerialize() may throw.
            $isOfTheRelay = $trouble instanceof ConnectionFailed
                || $trouble instanceof ConnectionLost
                || $trouble instanceof Timeout
                || ($trouble instanceof Refused && $trouble->reason === Refused::IDENT_TAKEN);
            if ($isOfTheRelay) {
                $this->pauseEnd = Deadline::in($this->pause);
            }
            $this->tell($trouble);
            return false;
        }
    }

    private function tell(\Throwable $trouble): void
    {
        if ($this->reported === $trouble->getMessage()) {
            return;
        }
        $this->reported = $trouble->getMessage();
        if ($this->report === null) {
            error_log('relay: ' . $trouble->getMessage());
            return;
        }
        try {
            ($this->report)('warning', 'relay: ' . $trouble->getMessage(), ['exception' => $trouble]);
        } catch (\Throwable $error) {
            // A logger that is broken must not break the page either.
            error_log('relay: ' . $trouble->getMessage() . '; and its report failed: ' . $error->getMessage());
        }
    }
}
