<?php

declare(strict_types=1);

namespace Relay\Check;

use Relay\Exception\ConnectionFailed;
use Relay\Exception\Step;
use Relay\Url;

/**
 * The step at which a check ends, and what a person can do about it.
 */
final class Failure extends \RuntimeException
{
    /**
     * @param list<string> $cures
     */
    public function __construct(
        public readonly string $step,
        int $code,
        string $message,
        public readonly array $cures,
    ) {
        parent::__construct($message, $code);
    }

    /**
     * The exit code.
     */
    public function code(): int
    {
        return $this->code;
    }

    public static function of(ConnectionFailed $failed, Url $url): self
    {
        $message = $failed->getMessage();
        $isSilent = str_contains($message, 'in time');
        $isUnavailable = $isSilent || $failed->step !== Step::Handshake;
        return new self(
            $failed->step->value,
            $isUnavailable ? Check::UNAVAILABLE : Check::PROTOCOL,
            $message,
            self::cures($failed->step, $message, $url),
        );
    }

    /**
     * @return list<string>
     */
    private static function cures(Step $step, string $message, Url $url): array
    {
        $plain = $url->isWebSocket() ? 'ws' : 'tcp';
        $secure = $url->isWebSocket() ? 'wss' : 'ssl';
        $local = in_array($url->host, ['localhost', '127.0.0.1', '::1'], true);
        return match (true) {
            $step === Step::Resolve => [
                "the spelling of the name; `getent hosts $url->host` asks the system",
            ],
            $step === Step::Connect && str_contains($message, 'refused') => array_values(array_filter([
                'is the relay running, and on this port? It prints "listening on ..." as it starts',
                $local ? '' : 'a relay that listens on 127.0.0.1 takes clients of its own machine alone',
            ])),
            $step === Step::Connect => [
                'a firewall in between, or the wrong address: does the machine answer at all?',
            ],
            $step === Step::Tls => [
                "if the relay listens there without TLS: $plain://" . $url->authority(),
            ],
            str_contains($message, '403') => [
                "--header 'Origin: https://...' with one of web.allowed_origins of the relay",
            ],
            str_contains($message, 'refused') => [
                'if a proxy is in front: does it pass the headers Upgrade and Connection?',
            ],
            $url->hasTls() => [
                'another port: what listens there is no relay',
            ],
            default => [
                "if the relay listens there with TLS: $secure://" . $url->authority(),
                'another port: is it a relay?',
            ],
        };
    }
}
