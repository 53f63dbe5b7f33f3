<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Client;
use Relay\Connection;
use Relay\Deadline;
use Relay\Exception\ConnectionFailed;
use Relay\Exception\ConnectionLost;
use Relay\Exception\InvalidOption;
use Relay\Exception\ProtocolError;
use Relay\Exception\Refused;
use Relay\Exception\RelayException;
use Relay\Exception\Step;
use Relay\Exception\Timeout;
use Relay\Options;

/**
 * What the client makes of servers that die, lie or say nothing.
 */
final class FaultTest extends TestCase
{
    /**
     * @param callable(): mixed $call
     */
    private static function trouble(callable $call): RelayException
    {
        try {
            $call();
        } catch (RelayException $trouble) {
            return $trouble;
        }
        self::fail('nothing was thrown');
    }

    private static function options(
        float $connectTimeout = Process::DEADLINE,
        float $timeout = Process::DEADLINE,
    ): Options {
        return new Options(connectTimeout: $connectTimeout, timeout: $timeout);
    }

    /**
     * @return iterable<string, array{string, string, Step, string}>
     */
    public static function noRelays(): iterable
    {
        yield 'a server that says nothing to tcp' => ['says nothing', 'tcp', Step::Handshake, 'no answer in time'];
        yield 'a server that says nothing to ws' => ['says nothing', 'ws', Step::Handshake, 'no answer in time'];
        yield 'a server that says nothing to ssl' => ['says nothing', 'ssl', Step::Tls, 'no answer in time'];
        yield 'a server that says nothing to wss' => ['says nothing', 'wss', Step::Tls, 'no answer in time'];
        yield 'a server that never accepts' => ['never accepts', 'tcp', Step::Handshake, 'no answer in time'];
        yield 'ssh to tcp' => ['no relay', 'tcp', Step::Handshake, 'no relay: "SSH-2.0'];
        yield 'ssh to ws' => ['no relay', 'ws', Step::Handshake, 'no web server: "SSH-2.0'];
        yield 'ssh to ssl' => ['no relay', 'ssl', Step::Tls, 'speaks no TLS'];
        yield 'another JSON server' => ['no ready', 'tcp', Step::Handshake, 'is no relay'];
        yield 'a refusal' => ['refuses', 'tcp', Step::Handshake, 'refuses this client: not today'];
        yield 'a web server' => ['http 404', 'ws', Step::Handshake, '404 Not Found'];
        yield 'the answer to another request' => ['wrong accept', 'ws', Step::Handshake, 'not that of a WebSocket'];
    }

    /**
     * @dataProvider noRelays
     */
    public function testWhatIsNoRelay(string $fault, string $scheme, Step $step, string $message): void
    {
        $server = new FaultServer($fault);
        $began = hrtime(true);
        $patience = str_contains($message, 'in time') ? 0.3 : Process::DEADLINE;
        $failed = self::trouble(fn () => (new Client($server->url($scheme), self::options($patience)))->connect());
        self::assertInstanceOf(ConnectionFailed::class, $failed);
        self::assertSame($step, $failed->step, $failed->getMessage());
        self::assertStringContainsString($message, $failed->getMessage());
        self::assertLessThan(10, (hrtime(true) - $began) / 1e9);
    }

    public function testAHostThatDoesNotExist(): void
    {
        $failed = self::trouble(fn () => (new Client('tcp://nobody.invalid:1'))->connect());
        self::assertInstanceOf(ConnectionFailed::class, $failed);
        self::assertSame(Step::Resolve, $failed->step);
    }

    public function testAMessageThatIsNeverAcked(): void
    {
        $server = new FaultServer('no ack');
        $client = new Client($server->url(), self::options(timeout: 0.3));
        $began = hrtime(true);
        $timeout = self::trouble(fn () => $client->broadcast('x'));
        $seconds = (hrtime(true) - $began) / 1e9;
        self::assertInstanceOf(Timeout::class, $timeout);
        self::assertGreaterThan(0.29, $seconds);
        self::assertLessThan(10, $seconds);
        self::assertFalse($client->isConnected());
    }

    public function testALongMessageThatIsNeverRead(): void
    {
        $server = new FaultServer('reads nothing');
        $client = new Client($server->url(), new Options(timeout: 0.3, messageBytesMax: 100_000_000));
        $began = hrtime(true);
        $timeout = self::trouble(fn () => $client->broadcast(str_repeat('x', 50_000_000)));
        self::assertInstanceOf(Timeout::class, $timeout);
        self::assertLessThan(10, (hrtime(true) - $began) / 1e9);
        self::assertFalse($client->isConnected(), 'half a message is out');
    }

    public function testWhatCameBeforeTheEndIsKept(): void
    {
        $server = new FaultServer('speaks and leaves');
        $client = new Client($server->url(), self::options());
        $client->connect();
        self::assertSame('left', $server->process->line());
        self::assertTrue($client->broadcast('by a new connection'));
        self::assertSame(['opcode' => 'x', 'n' => 1], $client->receive(0));
    }

    public function testANameThatIsTakenIsToldAsItConnects(): void
    {
        $server = new FaultServer('the name is taken');
        $client = new Client($server->url(), new Options(ident: 'billing'));
        $refused = self::trouble(fn () => $client->connect());
        self::assertInstanceOf(Refused::class, $refused);
        self::assertSame(['ident_taken', 'connect'], [$refused->reason, $refused->ref]);
        self::assertFalse($client->isConnected(), 'without its name it is of no use');
    }

    public function testANameThatIsFreeAgain(): void
    {
        $server = new FaultServer('the name is taken');
        $client = new Client($server->url(), new Options(ident: 'billing'));
        self::assertInstanceOf(Refused::class, self::trouble(fn () => $client->broadcast('x')));
        self::assertTrue($client->broadcast('y'));
        self::assertSame(['opcode' => 'x', 'n' => 1], $client->receive(0), 'what came before the ack is kept');
    }

    public function testANameIsNotWaitedForLongerThanAConnection(): void
    {
        $server = new FaultServer('no ack');
        $client = new Client($server->url(), new Options(ident: 'billing', connectTimeout: 0.3));
        $failed = self::trouble(fn () => $client->connect());
        self::assertInstanceOf(ConnectionFailed::class, $failed);
        self::assertStringContainsString('no answer in time', $failed->getMessage());
        self::assertFalse($client->isConnected());
    }

    public function testALateAckIsNotTakenForTheNextOne(): void
    {
        $server = new FaultServer('late ack');
        $client = new Client($server->url(), self::options(timeout: 1.0));
        self::assertInstanceOf(Timeout::class, self::trouble(fn () => $client->broadcast('first')));
        $server->process->say('now');
        self::assertTrue($client->broadcast('second'));
        self::assertSame('second', $client->receive(0)['is'] ?? null, 'the ack was that of the second connection');
    }

    public function testTheConnectionDiesInAMessage(): void
    {
        $server = new FaultServer('dies in a message');
        $lost = self::trouble(fn () => (new Client($server->url(), self::options()))->broadcast('x'));
        self::assertInstanceOf(ConnectionLost::class, $lost);
        self::assertStringContainsString('in the middle of a message', $lost->getMessage());
    }

    public function testTheConnectionDiesInAFrame(): void
    {
        $server = new FaultServer('dies in a frame');
        $lost = self::trouble(fn () => (new Client($server->url('ws'), self::options()))->broadcast('x'));
        self::assertInstanceOf(ConnectionLost::class, $lost);
        self::assertStringContainsString('in the middle of a message', $lost->getMessage());
    }

    public function testTheConnectionIsReset(): void
    {
        $server = new FaultServer('resets');
        $client = new Client($server->url(), self::options());
        $lost = self::trouble(fn () => $client->broadcast(str_repeat('x', 500_000)));
        self::assertInstanceOf(ConnectionLost::class, $lost);
        self::assertNull($lost->closeCode);
    }

    public function testMessagesThatComeOneByteAtATime(): void
    {
        $server = new FaultServer('one byte at a time');
        $client = new Client($server->url(), self::options());
        foreach ([1, 2] as $_) {
            $message = $client->receive(Process::DEADLINE);
            self::assertSame('žluťoučký kůň 🐎 "}{\\', $message['text'] ?? null);
        }
        self::assertNull($client->receive(0));
    }

    public function testBothSidesWriteAtOnce(): void
    {
        $server = new FaultServer('fills both sides');
        // More than the system holds for two sockets of which nobody reads.
        $options = new Options(timeout: Process::DEADLINE, messageBytesMax: 100_000_000);
        $client = new Client($server->url(), $options);
        self::assertTrue($client->broadcast(str_repeat('y', 40_000_000)));
        self::assertSame(12_000_000, strlen($client->receive(0)['text'] ?? ''));
    }

    public function testFramesThatComeWithTheUpgrade(): void
    {
        $server = new FaultServer('all in one write');
        $client = new Client($server->url('ws'), self::options());
        self::assertSame('fault', $client->uuid());
        self::assertSame(['opcode' => 'x', 'n' => 1], $client->receive(Process::DEADLINE));
        self::assertSame(['opcode' => 'x', 'n' => 2], $client->receive(Process::DEADLINE));
        self::assertSame([[10, 'ping!'], [10, '']], $client->receive(Process::DEADLINE)['frames'] ?? null);
    }

    public function testAnAnswerThatComesWithTheEnd(): void
    {
        // As `quit` is answered: the ack and the end may be there as soon as the message is out.
        $server = new FaultServer('answers and closes');
        $deadline = Deadline::in(Process::DEADLINE);
        $connection = Connection::open($server->url('ws'), self::options(), $deadline);
        self::assertStringContainsString('ready', (string) $connection->receive($deadline));
        $server->process->say('now');
        self::assertSame('said', $server->process->line());
        $connection->send('{"opcode":"quit"}', $deadline);
        self::assertStringContainsString('next', (string) $connection->receive($deadline));
        $lost = self::trouble(fn () => $connection->receive($deadline));
        self::assertInstanceOf(ConnectionLost::class, $lost);
        self::assertSame(1000, $lost->closeCode);
    }

    public function testAViolationIsAnsweredAndThrownBehindWhatCameBefore(): void
    {
        $server = new FaultServer('garbage frame');
        $client = new Client($server->url('ws'), self::options());
        self::assertSame(['opcode' => 'x'], $client->receive(Process::DEADLINE));
        self::assertInstanceOf(ProtocolError::class, self::trouble(fn () => $client->receive(Process::DEADLINE)));
        self::assertSame('[8,1002]', $server->process->line());
    }

    public function testNoWarningReachesTheApplication(): void
    {
        $heard = [];
        error_clear_last();
        set_error_handler(static function (int $level, string $text) use (&$heard): bool {
            $heard[] = $text;
            return true;
        });
        try {
            foreach (['resets', 'no relay', 'dies in a message'] as $fault) {
                foreach (['tcp', 'ssl', 'ws', 'wss'] as $scheme) {
                    $server = new FaultServer($fault);
                    $client = new Client($server->url($scheme), self::options(0.5));
                    self::trouble(fn () => $client->broadcast(str_repeat('x', 500_000)));
                }
            }
        } finally {
            restore_error_handler();
        }
        self::assertSame([], $heard);
        self::assertNull(error_get_last(), 'nothing went to the log or the page');
    }

    public function testAUrlThatIsNone(): void
    {
        $this->expectException(InvalidOption::class);
        new Client('http://localhost:8083');
    }
}
