<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;

/**
 * The process through which the dialogues are played.
 */
final class AdapterTest extends TestCase
{
    public function testAConversation(): void
    {
        $relay = new Relay();
        foreach (['tcp' => null, 'ssl' => null, 'ws' => 1001, 'wss' => 1001] as $scheme => $code) {
            $adapter = new Process([PHP_BINARY, __DIR__ . '/adapter.php'], ['RELAY_CAFILE' => $relay->cafile()]);
            $say = static fn (array $order) => $adapter->say(json_encode($order));
            $hear = static fn () => json_decode($adapter->line(), true);
            $headers = ['Ident' => "adapter-$scheme"];
            $say(['do' => 'connect', 'url' => $relay->url($scheme, '/php'), 'headers' => $headers]);
            self::assertSame(['event' => 'open'], $hear());
            self::assertSame('ready', json_decode($hear()['text'], true)['opcode']);
            $say(['do' => 'send', 'text' => 'pong']);
            self::assertSame(['event' => 'message', 'text' => '{"opcode":"next","uuid":"","fyi":""}'], $hear());
            $text = "{\"opcode\":\"feedback\", \"ident\":\"adapter-$scheme\",\"text\":\"ž\",\"x\":1.0}";
            $say(['do' => 'send', 'text' => $text]);
            self::assertSame('{"opcode":"next","uuid":"","fyi":""}', $hear()['text']);
            self::assertSame($text, $hear()['text']);
            $say(['do' => 'close', 'code' => 1001]);
            self::assertSame(['event' => 'closed', 'code' => $code], $hear());
            $say(['do' => 'connect', 'url' => 'nowhere']);
            self::assertSame('error', $hear()['event']);
            self::assertSame(['', 0], $adapter->finish());
        }
    }
}
