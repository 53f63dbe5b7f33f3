<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Exception\ConnectionFailed;
use Relay\Exception\ProtocolError;
use Relay\Framing\Framing;
use Relay\Framing\RawFraming;
use Relay\Framing\WebSocketFraming;
use Relay\Options;
use Relay\Url;

/**
 * Bytes to messages, without a network.
 */
final class FramingTest extends TestCase
{
    private const MESSAGES = [
        '{}',
        '[]',
        '{"a":"}{][\"}","b":"\\\\"}',
        '[[{"deep":[[]]}],"\\\\\"]"]',
        '{"text":"žluť 🐎","escaped":"\u00e9\ud83d\udc0e\/"}',
        '{"n":123456789012345678901234567890,"one":1.0}',
    ];

    private static function raw(string $url = 'tcp://localhost:1', ?Options $options = null): RawFraming
    {
        return new RawFraming(Url::parse($url), $options ?? new Options());
    }

    /**
     * A WebSocket whose upgrade was granted by these bytes.
     *
     * @return array{WebSocketFraming, string}
     */
    private static function upgraded(): array
    {
        $framing = new WebSocketFraming(Url::parse('ws://localhost:1/php'), new Options());
        preg_match('/^Sec-WebSocket-Key: (\S+)\r$/m', $framing->greeting(), $found);
        $accept = base64_encode(sha1($found[1] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        return [
            $framing,
            "HTTP/1.1 101 Switching Protocols\r\nUPGRADE: WebSocket\r\n"
                . "Connection: keep-alive, Upgrade\r\nsec-websocket-accept:$accept\r\n\r\n",
        ];
    }

    private static function frame(string $payload, int $opcode = 1, bool $final = true): string
    {
        $length = strlen($payload);
        return chr(($final ? 0x80 : 0) | $opcode) . match (true) {
            $length < 126 => chr($length),
            $length < 65_536 => chr(126) . pack('n', $length),
            default => chr(127) . pack('J', $length),
        } . $payload;
    }

    /**
     * @return list<string>
     */
    private static function messages(Framing $framing): array
    {
        $messages = [];
        while (($message = $framing->message()) !== null) {
            $messages[] = $message;
        }
        return $messages;
    }

    public function testRawMessagesCutAnywhere(): void
    {
        $stream = " \r\n" . implode('', self::MESSAGES) . "\t" . implode("\n", self::MESSAGES);
        $expected = [...self::MESSAGES, ...self::MESSAGES];
        for ($size = 1; $size <= strlen($stream); $size++) {
            $framing = self::raw();
            foreach (str_split($stream, $size) as $part) {
                $framing->take($part);
            }
            self::assertSame($expected, self::messages($framing), "in parts of $size bytes");
            self::assertFalse($framing->isMidway());
        }
        for ($at = 0; $at <= strlen($stream); $at++) {
            $framing = self::raw();
            $framing->take(substr($stream, 0, $at));
            $framing->take(substr($stream, $at));
            self::assertSame($expected, self::messages($framing), "cut at $at");
        }
    }

    public function testRawWorkIsLinearInTheLength(): void
    {
        // Brackets and escapes at every byte, a byte at a time: what looks twice takes hours.
        $message = '["' . str_repeat('\\"', 300_000) . '"' . str_repeat(',[]', 200_000) . ']';
        $framing = self::raw();
        foreach (str_split($message, 3) as $part) {
            $framing->take($part);
        }
        self::assertSame([$message], self::messages($framing));
    }

    public function testRawBytesThatAreNoJson(): void
    {
        $framing = self::raw();
        try {
            $framing->take("{}  HTTP/1.1 400 Bad\x00 Request");
            self::fail('it was taken');
        } catch (ProtocolError $error) {
            self::assertStringContainsString('"HTTP/1.1 400 Bad  Request"', $error->getMessage());
        }
        self::assertSame(['{}'], self::messages($framing));
    }

    public function testARawMessageWithoutEnd(): void
    {
        $framing = self::raw();
        $this->expectException(ProtocolError::class);
        $this->expectExceptionMessage('longer than');
        $framing->take('["');
        for ($n = 0; $n < 20; $n++) {
            $framing->take(str_repeat('x', 1_000_000));
        }
    }

    public function testRawGreetings(): void
    {
        self::assertSame("php process\r\n\r\n", self::raw()->greeting());
        self::assertSame(
            "php process\r\nGET /php?a=b HTTP/1.1\r\nIdent: me\r\nX-Job: 7\r\n\r\n",
            self::raw('ssl://localhost:1/php?a=b', new Options(ident: 'me', headers: ['X-Job' => '7']))->greeting(),
        );
    }

    public function testWebSocketMessagesCutAnywhere(): void
    {
        $frames = '';
        foreach (self::MESSAGES as $message) {
            $middle = intdiv(strlen($message), 2);
            $frames .= self::frame($message)
                . self::frame(substr($message, 0, $middle), 1, false) . self::frame('', 0, false)
                . self::frame('are you there', 0x9) . self::frame('', 0xA) . self::frame(substr($message, $middle), 0);
        }
        $frames .= self::frame(str_repeat('x', 126)) . self::frame(str_repeat('x', 65_536));
        $expected = [];
        foreach (self::MESSAGES as $message) {
            array_push($expected, $message, $message);
        }
        array_push($expected, str_repeat('x', 126), str_repeat('x', 65_536));
        foreach ([1, 2, 3, 5, 7, 64, 1000, 100_000] as $size) {
            [$framing, $answer] = self::upgraded();
            foreach (str_split($answer . $frames . self::frame("\x03\xe9bye", 0x8), $size) as $part) {
                $framing->take($part);
            }
            self::assertSame($expected, self::messages($framing), "in parts of $size bytes");
            self::assertSame([1001, 'bye'], $framing->farewell());
            $replies = self::unmasked($framing->replies());
            self::assertSame([...array_fill(0, 6, [0xA, 'are you there']), [0x8, "\x03\xe9"]], $replies);
            self::assertSame('', $framing->replies(), 'each is said once');
            self::assertSame('', $framing->goodbye(1000), 'nothing is said behind a Close frame');
        }
    }

    public function testWebSocketFramesAreMaskedAndOfTheRightForm(): void
    {
        [$framing, $answer] = self::upgraded();
        $framing->take($answer);
        foreach ([0, 1, 125, 126, 127, 65_535, 65_536, 1_048_576] as $length) {
            $text = str_repeat('x', $length);
            $bytes = $framing->encode($text);
            self::assertSame([[1, $text]], self::unmasked($bytes));
            self::assertSame($length + 6 + ($length < 126 ? 0 : ($length < 65_536 ? 2 : 8)), strlen($bytes));
        }
        self::assertNotSame($framing->encode('the same'), $framing->encode('the same'), 'each has a mask of its own');
        self::assertSame([[8, '']], self::unmasked((string) $framing->goodbye(null)));
    }

    /**
     * @return iterable<string, array{string, int}>
     */
    public static function violations(): iterable
    {
        yield 'reserved bits' => ["\xC1\x00", 1002];
        yield 'a mask' => ["\x81\x80abcd", 1002];
        yield 'an unknown opcode' => ["\x83\x00", 1002];
        yield 'an unknown control opcode' => ["\x8B\x00", 1002];
        yield 'a binary frame' => ["\x82\x01x", 1003];
        yield 'a ping in fragments' => ["\x09\x00", 1002];
        yield 'a ping of 126 bytes' => ["\x89\x7E\x00\x7E", 1002];
        yield 'a continuation of nothing' => [self::frame('x', 0), 1002];
        yield 'a message in a message' => [self::frame('x', 1, false) . self::frame('x'), 1002];
        yield 'no UTF-8' => [self::frame("\xC3\x28"), 1007];
        yield 'UTF-8 that ends too early' => [self::frame("\xC5", 1, false) . self::frame('', 0), 1007];
        yield 'a Close of one byte' => [self::frame("\x03", 8), 1002];
        yield 'a Close with a code that is never said' => [self::frame("\x03\xED", 8), 1002];
        yield 'a Close whose reason is no UTF-8' => [self::frame("\x03\xE8\xFF", 8), 1007];
        yield 'a length beyond all bounds' => ["\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 1009];
        yield 'a length too long' => ["\x81\x7F\x00\x00\x00\x00\x01\x00\x00\x01", 1009];
    }

    /**
     * @dataProvider violations
     */
    public function testAViolationOfTheWebSocketProtocol(string $bytes, int $answer): void
    {
        [$framing, $head] = self::upgraded();
        try {
            $framing->take($head . self::frame('{}') . $bytes);
            self::fail('it was taken');
        } catch (ProtocolError $error) {
            self::assertSame($answer, $error->answer);
        }
        self::assertSame(['{}'], self::messages($framing), 'what came before counts');
    }

    public function testAnUpgradeThatIsNotGranted(): void
    {
        [, $granted] = self::upgraded();
        $ungranted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        $heads = [
            "HTTP/1.1 403 Forbidden\r\n\r\nthis origin is not allowed" => 'this origin is not allowed',
            "SSH-2.0-OpenSSH\r\n" => 'no web server: "SSH-2.0-OpenSSH ',
            $ungranted => 'not that of a WebSocket',
            // The answer to another key.
            $granted => 'not that of a WebSocket',
            'HTTP/1.1 200 OK' . str_repeat("\r\nX: y", 10_000) => 'has no end',
        ];
        foreach ($heads as $head => $why) {
            $framing = new WebSocketFraming(Url::parse('ws://localhost:1'), new Options());
            try {
                $framing->take($head);
                self::fail("it was taken: $head");
            } catch (ConnectionFailed $failed) {
                self::assertStringContainsString($why, $failed->getMessage());
            }
            self::assertFalse($framing->isOpen());
        }
    }

    /**
     * @return list<array{int, string}>
     */
    private static function unmasked(string $bytes): array
    {
        $frames = [];
        while ($bytes !== '') {
            [$first, $length] = [ord($bytes[0]), ord($bytes[1])];
            self::assertSame(0x80, $first & 0xF0, 'one whole frame');
            self::assertSame(0x80, $length & 0x80, 'it is masked');
            $length &= 0x7F;
            $at = 2;
            if ($length >= 126) {
                $at = $length === 126 ? 4 : 10;
                $length = unpack($at === 4 ? 'n' : 'J', $bytes, 2)[1];
            }
            $mask = substr($bytes, $at, 4);
            $payload = substr($bytes, $at + 4, $length);
            for ($n = 0; $n < $length; $n++) {
                $payload[$n] = $payload[$n] ^ $mask[$n % 4];
            }
            $frames[] = [$first & 0xF, $payload];
            $bytes = substr($bytes, $at + 4 + $length);
        }
        return $frames;
    }
}
