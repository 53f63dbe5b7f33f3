<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;
use Relay\Client;
use Relay\Exception\ConnectionFailed;
use Relay\Options;
use Relay\QuietClient;

/**
 * A relay that is down never breaks the page that calls it, nor makes it slow.
 */
final class QuietTest extends TestCase
{
    /** @var list<array{string, string, array<string, mixed>}> */
    private array $reports = [];

    private function quiet(string $url, float $pause = 10.0, ?Options $options = null): QuietClient
    {
        return Client::quiet($url, $options, function (string $level, string $message, array $context): void {
            $this->reports[] = [$level, $message, $context];
        }, $pause);
    }

    public function testARelayThatIsDownIsReportedOnce(): void
    {
        $relay = new Relay();
        $relay->kill();
        $quiet = $this->quiet($relay->url('tcp'), 0.0);
        for ($n = 0; $n < 10; $n++) {
            self::assertFalse($quiet->progress('u', $n));
        }
        self::assertFalse($quiet->send(['opcode' => 'x']));
        self::assertFalse($quiet->feedback('u', 'x'));
        self::assertFalse($quiet->feedbackIdent('i', 'x'));
        self::assertFalse($quiet->broadcast('x'));
        self::assertCount(1, $this->reports);
        [$level, $message, $context] = $this->reports[0];
        self::assertSame('warning', $level);
        self::assertStringContainsString('cannot connect', $message);
        self::assertInstanceOf(ConnectionFailed::class, $context['exception']);
        self::assertTrue($quiet->quit(), 'there is nothing to quit');
    }

    public function testAHundredCallsWaitForOneTimeout(): void
    {
        $server = new FaultServer('says nothing');
        $quiet = $this->quiet($server->url());
        $began = hrtime(true);
        for ($n = 0; $n < 100; $n++) {
            self::assertFalse($quiet->progress('u', $n));
        }
        // One timeout is half a second; a hundred are 50 s.
        self::assertLessThan(10, (hrtime(true) - $began) / 1e9);
        self::assertCount(1, $this->reports);
    }

    public function testItsTimeoutsAreShortWhateverElseIsSet(): void
    {
        foreach (['says nothing', 'no ack'] as $fault) {
            $server = new FaultServer($fault);
            $quiet = $this->quiet($server->url(), 10.0, new Options(cafile: '/nowhere.pem'));
            $began = hrtime(true);
            self::assertFalse($quiet->broadcast('x'));
            // A second at most; with the timeouts of a Client it would be five.
            self::assertLessThan(4, (hrtime(true) - $began) / 1e9);
        }
        $server = new FaultServer('no ack');
        $quiet = $this->quiet($server->url(), 10.0, new Options(timeout: 2.0));
        $began = hrtime(true);
        self::assertFalse($quiet->broadcast('x'));
        self::assertGreaterThan(1.9, (hrtime(true) - $began) / 1e9, 'what is asked for is kept');
    }

    public function testARelayThatHangsIsLeftAloneToo(): void
    {
        $server = new FaultServer('no ack');
        $quiet = $this->quiet($server->url());
        $began = hrtime(true);
        for ($n = 0; $n < 100; $n++) {
            self::assertFalse($quiet->broadcast('x'));
        }
        self::assertLessThan(10, (hrtime(true) - $began) / 1e9);
        self::assertCount(1, $this->reports);
    }

    public function testItComesBackWithTheRelay(): void
    {
        $relay = new Relay();
        $quiet = $this->quiet($relay->url('tcp'), 0.0, $relay->options());
        self::assertTrue($quiet->broadcast('x'));
        $relay->kill();
        self::assertFalse($quiet->broadcast('x'));
        self::assertFalse($quiet->broadcast('x'));
        self::assertCount(1, $this->reports);

        $relay = new Relay([], $relay->port);
        self::assertTrue($quiet->broadcast('x'));
        $page = new Page($relay);
        self::assertTrue($quiet->progress($page->uuid, 50));
        self::assertSame(50, $page->hears()['percent']);
        self::assertTrue($quiet->quit());

        $relay->kill();
        self::assertFalse($quiet->broadcast('x'));
        self::assertCount(2, $this->reports, 'a new outage is reported anew');
    }

    public function testThePauseIsKept(): void
    {
        $relay = new Relay();
        $port = $relay->port;
        $relay->kill();
        $quiet = $this->quiet($relay->url('tcp'), 3600.0);
        self::assertFalse($quiet->broadcast('x'));
        $relay = new Relay([], $port);
        self::assertFalse($quiet->broadcast('x'));
    }

    public function testMistakesBreakNoPageEither(): void
    {
        $relay = new Relay();
        $quiet = $this->quiet($relay->url('tcp'), 3600.0, $relay->options());
        self::assertFalse($quiet->progress('u', NAN));
        self::assertFalse($quiet->feedback('', 'x'));
        self::assertFalse($quiet->broadcast("\xff"));
        self::assertFalse($quiet->send('no JSON'));
        self::assertCount(4, $this->reports);
        self::assertTrue($quiet->broadcast('the relay is not to blame'));

        self::assertFalse($this->quiet('no url')->broadcast('x'));
        self::assertFalse($this->quiet('ssl://localhost:' . $relay->port)->broadcast('x'));
        self::assertCount(6, $this->reports);
    }

    public function testANameThatIsTakenIsLeftAloneForAWhile(): void
    {
        $server = new FaultServer('the name is taken');
        $quiet = $this->quiet($server->url(), 3600.0, new Options(ident: 'billing'));
        self::assertFalse($quiet->broadcast('x'));
        self::assertFalse($quiet->broadcast('x'), 'the second connection would be taken');
        self::assertCount(1, $this->reports);
    }

    public function testAnObjectThatCannotBeEncodedBreaksNoPage(): void
    {
        $relay = new Relay();
        $quiet = $this->quiet($relay->url('tcp'), 3600.0, $relay->options());
        $object = new class implements \JsonSerializable {
            public function jsonSerialize(): never
            {
                throw new \DomainException('no invoice');
            }
        };
        self::assertFalse($quiet->send(['opcode' => 'x', 'object' => $object]));
        self::assertFalse($quiet->progress('u', 5, '', ['object' => $object]));
        self::assertCount(1, $this->reports);
        self::assertSame('relay: no invoice', $this->reports[0][1]);
        self::assertInstanceOf(\DomainException::class, $this->reports[0][2]['exception']);
        self::assertTrue($quiet->broadcast('nothing of it is out'));
    }

    public function testAReportThatFailsBreaksNoPage(): void
    {
        $log = tempnam(sys_get_temp_dir(), 'relay');
        $before = ini_set('error_log', $log);
        try {
            $quiet = Client::quiet('no url', null, static fn () => throw new \Error('the disk is full'));
            self::assertFalse($quiet->broadcast('x'));
            self::assertFalse(Client::quiet('nowhere')->broadcast('x'));
            $text = (string) file_get_contents($log);
            self::assertStringContainsString('the disk is full', $text);
            self::assertStringContainsString('"nowhere" is no URL of a relay', $text);
        } finally {
            ini_set('error_log', (string) $before);
            unlink($log);
        }
    }
}
