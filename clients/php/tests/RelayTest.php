<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Client;
use Relay\Connection;
use Relay\Deadline;
use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidMessage;
use Relay\Exception\Refused;
use Relay\Exception\Step;
use Relay\Options;

/**
 * The client against a real relay, over all four schemes.
 */
final class RelayTest extends TestCase
{
    private static ?Relay $shared = null;

    public static function setUpBeforeClass(): void
    {
        self::$shared = new Relay();
    }

    public static function tearDownAfterClass(): void
    {
        self::$shared = null;
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function schemes(): iterable
    {
        foreach (['tcp', 'ssl', 'ws', 'wss'] as $scheme) {
            yield $scheme => [$scheme];
        }
    }

    private static function relay(): Relay
    {
        return self::$shared ?? throw new \LogicException('no relay');
    }

    private static function client(string $scheme, mixed ...$options): Client
    {
        return new Client(self::relay()->url($scheme), self::relay()->options(...$options));
    }

    /**
     * @dataProvider schemes
     */
    public function testFeedbackReachesThePageWithTheUuidOnly(string $scheme): void
    {
        [$one, $other] = [new Page(self::relay()), new Page(self::relay())];
        $client = self::client($scheme);
        self::assertTrue($client->feedback($one->uuid, 'for one'));
        self::assertTrue($client->feedback($one->uuid, ['text' => 'ž', 'n' => 1.0, 'opcode' => 'quit']));
        self::assertTrue($client->broadcast('for all'));

        $head = "{\"opcode\":\"feedback\",\"uuid\":\"$one->uuid\"";
        self::assertSame("$head,\"message\":\"for one\"}", $one->hearsText());
        self::assertSame("$head,\"text\":\"ž\",\"n\":1.0}", $one->hearsText());
        self::assertSame('{"opcode":"broadcast","message":"for all"}', $one->hearsText());
        self::assertSame('{"opcode":"broadcast","message":"for all"}', $other->hearsText());
    }

    /**
     * @dataProvider schemes
     */
    public function testProgressArrivesInOrderWithinBounds(string $scheme): void
    {
        $page = new Page(self::relay());
        $client = self::client($scheme);
        foreach ([-5, 0, 33.5, 100, 1000.1] as $percent) {
            $more = ['step' => 1, 'percent' => 'mine'];
            self::assertTrue($client->progress($page->uuid, $percent, "at $percent", $more));
        }
        foreach ([[0, -5], [0, 0], [33.5, 33.5], [100, 100], [100, 1000.1]] as [$shown, $percent]) {
            $address = ['opcode' => 'feedback', 'uuid' => $page->uuid];
            $report = ['percent' => $shown, 'text' => "at $percent", 'step' => 1];
            self::assertSame($address + $report, $page->hears());
        }
    }

    /**
     * @dataProvider schemes
     */
    public function testPreparedJsonGoesByteForByte(string $scheme): void
    {
        $page = new Page(self::relay());
        $json = " {\"opcode\":\"x\", \"big\":123456789012345678901234567890,\"one\":1.0,\r\n\"a\":{},\"a\":[]}";
        self::assertTrue(self::client($scheme)->send($json));
        self::assertSame(ltrim($json), ltrim($page->hearsText()));
    }

    /**
     * @dataProvider schemes
     */
    public function testAMessageOfOneMegabyteGoesAndComes(string $scheme): void
    {
        $page = new Page(self::relay());
        $client = self::client($scheme, ident: "big-$scheme");
        $head = "{\"opcode\":\"feedback\",\"ident\":\"big-$scheme\",\"text\":\"";
        $json = $head . str_repeat('é', intdiv(1_048_576 - strlen($head) - 2, 2)) . '"}';
        $json .= str_repeat(' ', 1_048_576 - strlen($json));
        self::assertSame(1_048_576, strlen($json));

        $client->connect();
        self::assertTrue($client->send($json));
        self::assertSame(json_decode($json, true), $client->receive(Process::DEADLINE));
        self::assertTrue($client->broadcast(['text' => str_repeat('x', 1_000_000)]));
        self::assertSame(1_000_000, strlen($page->hears()['text']));

        $this->expectException(InvalidMessage::class);
        $this->expectExceptionMessage('1048577 bytes is longer than 1048576');
        $client->send($json . ' ');
    }

    /**
     * @dataProvider schemes
     */
    public function testWhatTheRelayFindsTooBigEndsTheConnection(string $scheme): void
    {
        $client = self::client($scheme, messageBytesMax: 10_000_000);
        try {
            $client->broadcast(str_repeat('x', 9_000_000));
            self::fail('it was taken');
        } catch (ConnectionLost $lost) {
            self::assertThat($lost->closeCode, self::logicalOr(self::isNull(), self::equalTo(1009)));
        }
        self::assertTrue($client->broadcast('and it goes on'));
    }

    /**
     * @dataProvider schemes
     */
    public function testABackendIsReachedByItsName(string $scheme): void
    {
        $named = self::client($scheme, ident: "billing-$scheme")->connect();
        $page = new Page(self::relay());
        $numbers = '"id":9223372036854775807,"huge":92233720368547758070';
        $page->says("{\"opcode\":\"feedback\",\"ident\":\"billing-$scheme\",$numbers}");
        self::assertSame('next', $page->hears()['opcode']);
        self::client($scheme)->feedbackIdent("billing-$scheme", ['uuid' => $page->uuid, 'text' => 'second']);

        $message = $named->receive(Process::DEADLINE);
        self::assertSame(PHP_INT_MAX, $message['id']);
        self::assertSame('92233720368547758070', $message['huge']);
        self::assertSame('second', $named->receive(Process::DEADLINE)['text']);
        self::assertNull($named->receive(0));
    }

    /**
     * @dataProvider schemes
     */
    public function testWhatComesWhileItSendsIsKept(string $scheme): void
    {
        $client = self::client($scheme, ident: "self-$scheme");
        for ($n = 0; $n < 50; $n++) {
            $client->feedbackIdent("self-$scheme", ['n' => $n]);
        }
        $client->confirm();
        $heard = [];
        foreach ($client->messages(0) as $message) {
            $heard[] = $message['n'];
        }
        self::assertSame(range(0, 49), $heard);
    }

    public function testTooMuchThatNobodyReceivesEndsTheConnection(): void
    {
        $client = self::client('tcp', ident: 'deaf');
        $lost = null;
        try {
            for ($n = 0; $n < 5_000; $n++) {
                $client->feedbackIdent('deaf', ['n' => $n]);
            }
        } catch (ConnectionLost $lost) {
            self::assertStringContainsString('4096 messages wait for receive()', $lost->getMessage());
        }
        self::assertNotNull($lost, 'it kept them all');
        self::assertSame(0, $client->receive(0)['n'], 'what is kept can be had');

        $client = self::client('tcp', ident: 'deaf and fat');
        $lost = null;
        try {
            for ($n = 0; $n < 100; $n++) {
                $client->feedbackIdent('deaf and fat', str_repeat('x', 1_000_000));
            }
        } catch (ConnectionLost $lost) {
            self::assertStringContainsString('67 messages wait', $lost->getMessage());
        }
        self::assertNotNull($lost, 'it kept them all');
    }

    /**
     * @dataProvider schemes
     */
    public function testARefusalIsToldByConfirmQuitAndReceive(string $scheme): void
    {
        $client = self::client($scheme);
        $wrong = ['opcode' => 'uuid', 'message' => 'a backend has no uuid'];
        $calls = [
            fn () => $client->confirm(),
            fn () => $client->quit(),
            fn () => $client->receive(Process::DEADLINE),
        ];
        foreach ($calls as $call) {
            self::assertTrue($client->send($wrong));
            try {
                $call();
                self::fail('the refusal was not told');
            } catch (Refused $refused) {
                self::assertSame('uuid', $refused->ref);
                self::assertNotSame('', $refused->reason);
                self::assertStringContainsString($refused->reason, $refused->getMessage());
            }
            self::assertTrue($client->confirm(), 'it is told once');
        }
    }

    /**
     * @dataProvider schemes
     */
    public function testQuitEndsAndALaterCallBeginsAnew(string $scheme): void
    {
        $client = self::client($scheme);
        $first = $client->uuid();
        self::assertTrue($client->isConnected());
        self::assertTrue($client->quit());
        self::assertFalse($client->isConnected());
        self::assertTrue($client->quit(), 'there is nothing to quit');
        self::assertFalse($client->isConnected());
        self::assertTrue($client->broadcast('again'));
        self::assertNotSame($first, $client->uuid());
    }

    /**
     * @dataProvider schemes
     */
    public function testAConnectionCarriesTextsAndTheCodeOfTheEnd(string $scheme): void
    {
        $deadline = Deadline::in(Process::DEADLINE);
        $connection = Connection::open(self::relay()->url($scheme, '/php?a=b'), self::relay()->options());
        self::assertStringStartsWith('{"opcode":"ready"', (string) $connection->receive($deadline));
        $connection->send('no JSON', $deadline);
        self::assertSame('{"opcode":"next","uuid":"","fyi":""}', $connection->receive($deadline));
        self::assertTrue($connection->isAlive());
        $connection->finish(1001);
        self::assertFalse($connection->isAlive());
        try {
            $connection->receive($deadline);
            self::fail('the connection goes on');
        } catch (ConnectionLost $lost) {
            self::assertSame(str_starts_with($scheme, 'ws') ? 1001 : null, $lost->closeCode);
        }
        foreach ([null => 1005, 3000 => 3000] as $code => $heard) {
            $connection = Connection::open(self::relay()->url($scheme), self::relay()->options());
            $said = $connection->close($deadline, $code === '' ? null : $code);
            self::assertSame(str_starts_with($scheme, 'ws') ? $heard : null, $said);
        }
    }

    /**
     * @dataProvider schemes
     */
    public function testAReceiveThatIsGivenNothingReturnsInTime(string $scheme): void
    {
        $client = self::client($scheme)->connect();
        $began = hrtime(true);
        self::assertNull($client->receive(0.2));
        self::assertSame([], iterator_to_array($client->messages(0.1)));
        $seconds = (hrtime(true) - $began) / 1e9;
        self::assertGreaterThan(0.29, $seconds);
        self::assertLessThan(10, $seconds);
        self::assertTrue($client->isConnected());
    }

    /**
     * @dataProvider schemes
     */
    public function testTheRelayDiesWhileTheClientWaits(string $scheme): void
    {
        $relay = new Relay();
        $client = new Client($relay->url($scheme), $relay->options());
        $client->connect();
        $relay->kill();
        $began = hrtime(true);
        try {
            $client->receive();
            self::fail('something came');
        } catch (ConnectionLost $lost) {
            self::assertNull($lost->closeCode);
        }
        try {
            $client->broadcast('is anybody there?');
            self::fail('it was taken');
        } catch (ConnectionFailed $failed) {
            self::assertSame(Step::Connect, $failed->step);
            self::assertStringContainsString('refused', $failed->getMessage());
        }
        self::assertLessThan(10, (hrtime(true) - $began) / 1e9);
    }

    /**
     * @dataProvider schemes
     */
    public function testTheRelayRestartsAndTheClientGoesOn(string $scheme): void
    {
        $relay = new Relay();
        $client = new Client($relay->url($scheme), $relay->options());
        $client->broadcast('before');
        $port = $relay->port;
        $first = $client->uuid();
        $relay->signal(15);
        try {
            $client->receive();
            self::fail('something came');
        } catch (ConnectionLost $lost) {
            self::assertStringContainsString('the relay is stopping', $lost->getMessage());
        }
        $relay->kill();
        $relay = new Relay([], $port);
        self::assertTrue($client->broadcast('after'));

        // Lost between two calls: nothing of the second message was out, so it goes to a new one.
        $relay->kill();
        $relay = new Relay([], $port);
        self::assertTrue($client->broadcast('after the crash'));
        self::assertTrue($client->confirm());
        self::assertNotSame($first, $client->uuid());
        $second = $client->uuid();
        $relay->kill();
        $relay = new Relay([], $port);
        self::assertNotSame($second, $client->connect()->uuid());
        self::assertTrue($client->isConnected());
    }

    /**
     * @dataProvider schemes
     */
    public function testARelayThatIsDownIsAQuickAndClearFailure(string $scheme): void
    {
        $relay = new Relay();
        $relay->kill();
        $began = hrtime(true);
        foreach (['send', 'broadcast'] as $call) {
            try {
                (new Client($relay->url($scheme), new Options()))->$call('{}');
                self::fail('it was taken');
            } catch (ConnectionFailed $failed) {
                self::assertSame(Step::Connect, $failed->step);
                $url = "$scheme://localhost:$relay->port";
                self::assertSame("cannot connect to $url: Connection refused", $failed->getMessage());
            }
        }
        self::assertLessThan(4, (hrtime(true) - $began) / 1e9);
    }

    public function testAScriptMayRefuseAClient(): void
    {
        $script = tempnam(sys_get_temp_dir(), 'relay');
        try {
            file_put_contents($script, <<<'LUA'
                function on.connect(client)
                  client:close(1008, "members only")
                end
                function on.default() end
                LUA);
            $relay = new Relay(['--script', $script]);
            foreach (['tcp', 'ssl', 'ws', 'wss'] as $scheme) {
                try {
                    (new Client($relay->url($scheme), $relay->options()))->connect();
                    self::fail('it is connected');
                } catch (ConnectionFailed $failed) {
                    self::assertSame(Step::Handshake, $failed->step);
                    self::assertStringContainsString('members only', $failed->getMessage());
                }
            }
        } finally {
            unlink($script);
        }
    }
}
