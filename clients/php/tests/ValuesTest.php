<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Client;
use Relay\Deadline;
use Relay\Exception\InvalidMessage;
use Relay\Exception\InvalidOption;
use Relay\Exception\Refused;
use Relay\Message;
use Relay\Options;
use Relay\Url;

/**
 * URLs, options, messages: what is no I/O.
 */
final class ValuesTest extends TestCase
{
    public function testUrls(): void
    {
        foreach (
            [
                'tcp://127.0.0.1:8083' => ['tcp', '127.0.0.1', 8083, '', 'tcp://127.0.0.1:8083'],
                'SSL://example.org:1/php' => ['ssl', 'example.org', 1, '/php', 'ssl://example.org:1'],
                'ws://relay' => ['ws', 'relay', 80, '', 'ws://relay:80'],
                'wss://relay?secret=1' => ['wss', 'relay', 443, '/?secret=1', 'wss://relay:443'],
                'wss://[::1]:65535/a/b?c=d%20e' => ['wss', '::1', 65535, '/a/b?c=d%20e', 'wss://[::1]:65535'],
            ] as $text => $expected
        ) {
            $url = Url::parse($text);
            self::assertSame($expected, [$url->scheme, $url->host, $url->port, $url->target, (string) $url]);
        }
    }

    public function testUrlsThatMeanNothing(): void
    {
        $wrong = [
            '', 'relay', 'http://relay', '//relay:1', 'tcp://relay', 'ssl://relay/x', 'tcp://:1', 'tcp:///x',
            'ws://relay:0', 'ws://relay:65536', 'ws://relay:x', 'ws://me:secret@relay', 'ws://relay/#x',
            "ws://relay/a\r\nX: y", 'ws://relay/a b', 'ws://re lay', "ws://relay\0",
        ];
        foreach ($wrong as $text) {
            try {
                Url::parse($text);
                self::fail("it was taken: \"$text\"");
            } catch (InvalidOption $error) {
                self::assertStringNotContainsString('secret', $error->getMessage());
                self::assertStringNotContainsString("\n", $error->getMessage());
            }
        }
    }

    /**
     * @return iterable<string, array{array<string, mixed>}>
     */
    public static function wrongOptions(): iterable
    {
        yield 'no time' => [['timeout' => 0.0]];
        yield 'less than no time' => [['connectTimeout' => -1.0]];
        yield 'no number' => [['timeout' => NAN]];
        yield 'no room' => [['messageBytesMax' => 0]];
        yield 'an empty name' => [['ident' => '']];
        yield 'a name of two lines' => [['ident' => "a\r\nX: y"]];
        yield 'a name with blanks' => [['ident' => ' a ']];
        yield 'a header of two lines' => [['headers' => ['X' => "a\r\nY: b"]]];
        yield 'a header whose name is none' => [['headers' => ['X: Y' => 'a']]];
        yield 'a header with a number' => [['headers' => ['X' => 7]]];
        yield 'a header that is set already' => [['headers' => ['Client-Type' => 'web']]];
        yield 'two names' => [['ident' => 'a', 'headers' => ['Ident' => 'b']]];
    }

    /**
     * @dataProvider wrongOptions
     *
     * @param array<string, mixed> $options
     */
    public function testOptionsThatMeanNothing(array $options): void
    {
        $this->expectException(InvalidOption::class);
        new Options(...$options);
    }

    public function testTimeoutsAreFilledInAndNothingElseChanges(): void
    {
        $options = new Options(
            ident: 'a',
            timeout: 2.0,
            headers: ['X' => 'b'],
            cafile: 'c',
            capath: 'd',
            peerName: 'e',
            verify: false,
            messageBytesMax: 7,
        );
        $filled = $options->withTimeouts(0.5, 1.0);
        self::assertEquals(['connectTimeout' => 0.5] + get_object_vars($options), get_object_vars($filled));
    }

    public function testCertificatesAreCheckedUnlessToldOtherwise(): void
    {
        $tls = (new Options(cafile: 'ca.pem', capath: 'certs'))->tls('example.org');
        self::assertSame(
            [true, true, false, 'example.org', true, 'ca.pem', 'certs'],
            [
                $tls['verify_peer'], $tls['verify_peer_name'], $tls['allow_self_signed'], $tls['peer_name'],
                $tls['SNI_enabled'], $tls['cafile'], $tls['capath'],
            ],
        );
        self::assertArrayNotHasKey('cafile', (new Options())->tls('example.org'));
        $own = (new Options(localCert: 'own.pem', localPk: 'own-key.pem'))->tls('example.org');
        self::assertSame(['own.pem', 'own-key.pem'], [$own['local_cert'], $own['local_pk']]);
        self::assertArrayNotHasKey('local_cert', (new Options())->tls('example.org'));
        self::assertFalse((new Options())->tls('127.0.0.1')['SNI_enabled']);
        self::assertSame('other', (new Options(peerName: 'other'))->tls('127.0.0.1')['peer_name']);
        self::assertFalse((new Options(verify: false))->tls('example.org')['verify_peer']);
    }

    public function testMessagesAreObjects(): void
    {
        self::assertSame('{}', Message::encode([], 100));
        self::assertSame(
            '{"a":"ž/","f":1.0,"l":[],"o":{}}',
            Message::encode(['a' => 'ž/', 'f' => 1.0, 'l' => [], 'o' => new \stdClass()], 100),
        );
        self::assertSame(' {"a": 1} ', Message::encode(' {"a": 1} ', 100));
        $deep = str_repeat('{"a":', 200) . '1' . str_repeat('}', 200);
        foreach (['', 'pong', '7', '"x"', '[1]', 'null', '{"a":1', '{}{}', "{\"a\":\"\xff\"}", $deep] as $text) {
            try {
                Message::encode($text, 1000);
                self::fail("it was taken: $text");
            } catch (InvalidMessage) {
                self::addToAssertionCount(1);
            }
        }
        foreach ([[[1, 2]], [['a' => "\xff"]], [['a' => NAN]], [['a' => str_repeat('x', 1000)]]] as [$fields]) {
            try {
                Message::encode($fields, 1000);
                self::fail('it was taken');
            } catch (InvalidMessage) {
                self::addToAssertionCount(1);
            }
        }
    }

    public function testNoFieldChangesTheAddress(): void
    {
        self::assertSame(
            ['opcode' => 'feedback', 'uuid' => 'u', 'text' => 't'],
            Message::addressed(
                ['opcode' => 'feedback', 'uuid' => 'u'],
                ['uuid' => 'x', 'opcode' => 'quit', 'text' => 't'],
            ),
        );
    }

    public function testAListIsNoMessage(): void
    {
        foreach (
            [
                fn () => Message::addressed(['opcode' => 'broadcast'], ['x']),
                fn () => Message::progress(5, '', ['x']),
            ] as $list
        ) {
            try {
                $list();
                self::fail('it was taken');
            } catch (InvalidMessage $error) {
                self::assertStringContainsString('this is a list', $error->getMessage());
            }
        }
    }

    public function testNobodyIsNoAddress(): void
    {
        // Told before anything is connected.
        $client = new Client('tcp://127.0.0.1:1');
        foreach (
            [
                fn () => $client->feedback('', 'x'),
                fn () => $client->feedbackIdent('', 'x'),
                fn () => $client->progress('', 5),
            ] as $call
        ) {
            try {
                $call();
                self::fail('it was taken');
            } catch (InvalidMessage $error) {
                self::assertMatchesRegularExpression('/\Athe (uuid|ident) is empty\z/', $error->getMessage());
            }
        }
    }

    public function testAPercentageIsANumber(): void
    {
        foreach ([NAN, INF, -INF] as $percent) {
            try {
                Message::progress($percent, '', []);
                self::fail('it was taken');
            } catch (InvalidMessage) {
                self::addToAssertionCount(1);
            }
        }
    }

    public function testRefusals(): void
    {
        $error = ['opcode' => 'error', 'code' => 'handler_failed', 'message' => 'no', 'ref' => 'x', 'id' => 'e-7'];
        $refused = Refused::from($error);
        self::assertSame(['handler_failed', 'x', 'e-7'], [$refused->reason, $refused->ref, $refused->id]);
        self::assertSame('relay refused "x": no (handler_failed; id e-7 in the relay\'s log)', $refused->getMessage());
        self::assertSame('error', Refused::from(['opcode' => 'error', 'code' => ['odd']])->reason);
    }

    public function testDeadlines(): void
    {
        self::assertNull(Deadline::in(null)->left());
        self::assertFalse(Deadline::in(null)->isOver());
        self::assertNull(Deadline::in(INF)->left());
        self::assertTrue(Deadline::in(0)->isOver());
        self::assertSame(0.0, Deadline::in(-1)->left());
        self::assertEqualsWithDelta(60.0, Deadline::in(60)->left(), 5);
    }
}
