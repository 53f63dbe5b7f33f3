<?php

declare(strict_types=1);

namespace Relay\Tests;

use Relay\Connection;
use Relay\Deadline;
use Relay\Message;
use Relay\Options;
use Relay\Socket;
use Relay\Url;
use Relay\Framing\WebSocketFraming;
use Relay\Framing\Framing;

/**
 * A web client: the same WebSocket, without saying that it is a backend.
 */
final class Page
{
    public readonly string $uuid;
    private Connection $connection;

    public function __construct(Relay $relay)
    {
        $url = Url::parse($relay->url('ws', '/web'));
        $options = new Options();
        $deadline = Deadline::in(Process::DEADLINE);
        $framing = new class (new WebSocketFraming($url, $options)) implements Framing {
            public function __construct(private WebSocketFraming $of)
            {
            }

            public function greeting(): string
            {
                return str_replace("Client-Type: php\r\n", '', $this->of->greeting());
            }

            public function isOpen(): bool
            {
                return $this->of->isOpen();
            }

            public function encode(string $text): string
            {
                return $this->of->encode($text);
            }

            public function take(string $bytes): void
            {
                $this->of->take($bytes);
            }

            public function message(): ?string
            {
                return $this->of->message();
            }

            public function replies(): string
            {
                return $this->of->replies();
            }

            public function goodbye(?int $code, string $reason = ''): ?string
            {
                return $this->of->goodbye($code, $reason);
            }

            public function farewell(): ?array
            {
                return $this->of->farewell();
            }

            public function isMidway(): bool
            {
                return $this->of->isMidway();
            }
        };
        $this->connection = new Connection(Socket::connect($url, $options, $deadline), $framing);
        $this->connection->greet($url, $deadline);
        $this->uuid = $this->hears()['uuid'];
    }

    /**
     * @return array<mixed>
     */
    public function hears(): array
    {
        return Message::decode($this->hearsText()) ?? [];
    }

    public function hearsText(): string
    {
        return $this->connection->receive(Deadline::in(Process::DEADLINE))
            ?? throw new \RuntimeException('the page hears nothing');
    }

    public function says(string $text): void
    {
        $this->connection->send($text, Deadline::in(Process::DEADLINE));
    }
}
